import Glibc

/// Ports of loopback for programs that are about to be started. Thread-safe.
package enum LoopbackPorts {
    /// Below the ports that the kernel gives to clients (from 32768 on, as shipped) and those of Kubernetes' services (from 30000):
    /// one of these is not taken by somebody's connection before the program listens on it.
    private static let range: ClosedRange<UInt16> = 15_000...29_999

    private static let given = Lock<Set<UInt16>>([])

    /// A port on which nobody listens; each is handed out once by this process.
    package static func free() throws(FileError) -> UInt16 {
        for _ in 0..<2000 {
            let port = UInt16.random(in: range)
            guard given.withLock({ $0.insert(port).inserted }) else { continue }
            if try isFree(port) { return port }
        }
        throw FileError("find a free port of", "127.0.0.1", EADDRINUSE)
    }

    private static func isFree(_ port: UInt16) throws(FileError) -> Bool {
        let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard fd >= 0 else { throw FileError("make", "a socket") }
        defer { close(fd) }
        // As servers do: otherwise a child that is just being started, and has this socket until it runs its program, would keep
        // the port from the server.
        var yes: Int32 = 1
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
