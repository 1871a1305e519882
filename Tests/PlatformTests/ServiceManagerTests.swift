import Glibc
import Platform
import Testing

/// What systemd tells a service, and no program that the service starts.
@Suite struct ServiceManagerTests {
    /// In a process of its own: other tests read the environment, which must not change under them.
    @Test func whatIsMeantForTheServiceIsNotHandedOn() async {
        await #expect(processExitsWith: .success) {
            let path = "/tmp/kops-notify-\(getpid())"
            let socket = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            defer {
                close(socket)
                unlink(path)
            }
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            let bound = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            #expect(bound == 0)
            setenv("NOTIFY_SOCKET", path, 1)
            setenv("WATCHDOG_USEC", "30000000", 1)
            let manager = ServiceManager.fromEnvironment()
            #expect(manager.watchdogMilliseconds == 30_000)
            let told = try ChildProgram.run("sh", ["-c", "echo \"$NOTIFY_SOCKET$WATCHDOG_USEC\""])
            #expect(told.output == "\n")
            manager.ready("running")
            var buffer = [UInt8](repeating: 0, count: 100)
            let count = recv(socket, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            #expect(String(decoding: buffer.prefix(max(0, count)), as: UTF8.self) == "READY=1\nSTATUS=running")
        }
    }
}
