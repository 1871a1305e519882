import Glibc
import Platform
import TestSupport
import Testing

/// What the service remembers beside its samples may be damaged like any file; it starts and says so.
@Suite struct DamagedFilesTests {
    @Test func startsWithEveryMemoryDamaged() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let port = try freePorts(1)[0]
        let names = ["jobs.sqlite", "audit.sqlite", "events.sqlite", "notifications.sqlite"]
        try FileSystem.makeDirectories(directory + "/data")
        for name in names {
            try AtomicFile.write(
                Array("no database: \(name) ".utf8) + [UInt8](repeating: 0, count: 9000),
                to: "\(directory)/data/\(name)")
        }
        try AtomicFile.write(
            Array("storage: {path: \(directory)/data}\nhttp: {listen: \"127.0.0.1:\(port)\"}\n".utf8),
            to: directory + "/kops.yaml")
        let sidecar = try Program([binary, "run", "--config", directory + "/kops.yaml"], log: directory + "/log")
        defer { _ = sidecar.stop(SIGKILL) }
        let http = HTTPClient(name: "damaged")
        defer { http.shutdown() }
        try await eventually("the sidecar is ready") {
            (try? await http.send(HTTPRequest("GET", "http://127.0.0.1:\(port)/-/ready")).status) == 200
        }
        let metrics = try await http.send(HTTPRequest("GET", "http://127.0.0.1:\(port)/metrics")).bodyText
        let there = try FileSystem.list(directory + "/data")
        let log = try FileSystem.readText(directory + "/log")
        for name in names {
            #expect(metrics.contains("kops_state_files_damaged_total{file=\"\(name)\"} 1\n"), "\(name)")
            #expect(there.contains { $0.hasPrefix(name + ".damaged-") }, "\(name)")
            #expect(log.contains(name + ".damaged-"), "\(name)")
        }
        #expect(sidecar.stop() == 0)
    }
}
