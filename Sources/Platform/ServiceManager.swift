import Glibc

/// Tells systemd of readiness, reloads and life, by its datagram protocol (sd_notify(3)). Does nothing elsewhere.
package struct ServiceManager: Sendable {
    private let socketPath: String?
    /// How often systemd wants to hear that the service lives, in milliseconds; nil where it does not ask.
    package let watchdogMilliseconds: Int64?

    package init(environment: [String: String]) {
        socketPath = environment["NOTIFY_SOCKET"]
        let interval = environment["WATCHDOG_USEC"].flatMap(Int64.init).map { $0 / 1000 }
        let forUs = environment["WATCHDOG_PID"].map { $0 == String(getpid()) } ?? true
        watchdogMilliseconds = forUs ? interval : nil
    }

    /// What systemd has told this process. It is taken out of the environment: a program started from here, such as an etcd for a drill,
    /// would speak in the service's name.
    package static func fromEnvironment() -> ServiceManager {
        var told: [String: String] = [:]
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            if let value = getenv(name) { told[name] = String(cString: value) }
            unsetenv(name)
        }
        return ServiceManager(environment: told)
    }

    package func ready(_ status: String) { send("READY=1\nSTATUS=\(status)") }
    package func stopping() { send("STOPPING=1\nSTATUS=stopping") }
    package func alive() { send("WATCHDOG=1") }
    package func status(_ text: String) { send("STATUS=\(text)") }
    package func reloading() {
        send("RELOADING=1\nMONOTONIC_USEC=\(monotonicNanoseconds() / 1000)")
    }

    private func send(_ message: String) {
        guard let socketPath, let first = socketPath.utf8.first else { return }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var path = Array(socketPath.utf8)
        // An abstract address begins with a zero byte, written as @.
        if first == UInt8(ascii: "@") { path[0] = 0 }
        guard path.count < MemoryLayout.size(ofValue: address.sun_path) else { return }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        let socket = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard socket >= 0 else { return }
        defer { close(socket) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + path.count)
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { target in
                _ = sendto(socket, message, message.utf8.count, Int32(MSG_NOSIGNAL), target, length)
            }
        }
    }
}
