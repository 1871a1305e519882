import Glibc
import Platform

/// A client of a port of loopback that sends and receives bytes as a test says, so that it can be slow, late or rude.
package final class LoopbackClient: Sendable {
    private let fd: Int32

    package init(_ port: Int, receiveBuffer: Int32 = 0) throws {
        fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var size = receiveBuffer
        if size > 0 { setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, 4) }
        var limit = timeval(tv_sec: 120, tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw TestFailure("connect: \(errno)") }
    }

    deinit { close(fd) }

    /// With CR before each line feed.
    package func send(_ text: String) {
        let bytes = Array(text.replacing("\n", with: "\r\n").utf8)
        _ = Glibc.send(fd, bytes, bytes.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL))
    }

    package func endOutput() { shutdown(fd, Int32(truncatingIfNeeded: SHUT_WR)) }

    /// What comes until `enough` says so of the number of bytes, or the connection ends.
    package func receive(_ enough: @escaping @Sendable (Int) -> Bool = { _ in false }) async throws -> [UInt8] {
        try await WorkerPool.blocking.run { [fd] in
            var all: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            while !enough(all.count) {
                let count = recv(fd, &buffer, buffer.count, 0)
                if count < 0, errno != ECONNRESET { throw TestFailure("receive: \(errno)") }
                if count <= 0 { break }
                all += buffer[..<count]
            }
            return all
        }
    }
}
