package import ClusterOps
import Glibc
import Platform

/// Lets one task at a time through, in order.
actor AsyncLock {
    private var last: Task<Void, Never>?

    func run<R: Sendable>(_ body: @escaping @Sendable () async -> R) async -> R {
        let before = last
        let task = Task {
            await before?.value
            return await body()
        }
        last = Task { _ = await task.value }
        return await task.value
    }
}

/// Tries the address before the server does, for an error that says what is wrong; nil where it is free.
func addressProblem(_ http: HTTPConfig) -> String? {
    if http.port == 0 { return nil }
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_PASSIVE
    var found: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(http.host, String(http.port), &hints, &found)
    guard code == 0, let address = found else { return String(cString: gai_strerror(code)) }
    defer { freeaddrinfo(found) }
    let fd = socket(address.pointee.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard fd >= 0 else { return nil }
    defer { close(fd) }
    var yes: Int32 = 1
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    guard bind(fd, address.pointee.ai_addr, address.pointee.ai_addrlen) == 0 else {
        let problem = errno
        if problem == EADDRINUSE { return "the port is taken by another program; choose one with --listen HOST:PORT" }
        return String(cString: strerror(problem))
    }
    return nil
}

/// The destinations that a configuration names.
package func makeDestinations(_ options: BackupOptions) -> [any Destination] {
    options.destinations.map { $0.make() }
}
