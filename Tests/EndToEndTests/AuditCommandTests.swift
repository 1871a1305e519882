import FoundationEssentials
import Glibc
import Platform
import Testing

/// Commands that change something write who ran them into the trail of the data directory, no service running.
@Suite struct AuditCommandTests {
    private struct Entries: Decodable {
        struct Entry: Decodable {
            var actor: String
            var action: String
            var subject: String
            var result: String
            var detail: String
        }
        var entries: [Entry]
    }

    private func trail(_ directory: String) async throws -> [Entries.Entry] {
        let answer = try await shell("\(binary) audit list --data-dir \(directory) -o json")
        #expect(answer.status == 0, "\(answer.output)")
        return try JSONDecoder().decode(Entries.self, from: Data(answer.output.utf8)).entries
    }

    @Test func whatIsChangedByHandIsInTheTrailWithWhoDidItAndWhatCameOfIt() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let data = directory + "/data"
        try FileSystem.makeDirectories(data)
        try AtomicFile.write(
            Array(
                """
                storage: {path: \(data)}
                etcd: {endpoints: ["http://127.0.0.1:1"]}
                backup: {destinations: [{name: here, path: \(directory)/backups}]}
                upgrade: {gates: []}
                cluster: {kubeconfig: \(directory)/absent}
                """.utf8), to: directory + "/c.yml")
        let config = "--config \(directory)/c.yml"
        #expect(try await shell("\(binary) audit list --data-dir \(data)").status == 2)
        try AtomicFile.write(Array("a 1 1600000000\n# EOF\n".utf8), to: directory + "/in.om")
        let user = "SUDO_USER=nobody"
        for (command, status): (String, Int32) in [
            ("store import \(config) \(directory)/in.om", 0), ("store compact \(config)", 0),
            ("backup now \(config)", 1), ("backup verify \(config)", 1), ("backup prune \(config)", 0),
            ("backup prune --dry-run \(config)", 0), ("backup drill \(config)", 1),
            ("upgrade apply --to v1.31.4 --force budgets \(config)", 2), ("upgrade pause \(config)", 1),
            ("upgrade resume \(config)", 2), ("restore latest --data-dir \(directory)/etcd \(config)", 1),
            ("restore latest --dry-run --data-dir \(directory)/etcd \(config)", 1),
        ] {
            let answer = try await shell("env \(user) \(binary) \(command)")
            #expect(answer.status == status, "\(command): \(answer.status) \(answer.output)")
        }
        let entries = try await trail(data)
        let told = entries.reversed().map { "\($0.action) \($0.result)" }
        #expect(
            told == [
                "store import success", "store compact success", "backup now failure", "backup verify failure",
                "backup prune success", "backup drill failure", "upgrade apply success", "upgrade apply failure",
                "upgrade pause failure", "upgrade resume success", "upgrade resume failure", "restore success",
                "restore failure",
            ])
        let acting = getpwuid(geteuid()).map { String(cString: $0.pointee.pw_name) } ?? ""
        #expect(entries.allSatisfy { $0.actor.hasPrefix("command line (") && $0.actor.contains(acting) })
        // The login may be another still; whoever called sudo is named.
        #expect(entries.allSatisfy { $0.actor.contains("nobody") })
        let imported = try #require(entries.last)
        #expect(imported.subject == directory + "/in.om" && imported.detail == "1 samples over 1 days")
        let apply = try #require(entries.first { $0.action == "upgrade apply" })
        #expect(apply.subject == "v1.31.4, --force budgets" && apply.detail.contains("absent"))
        #expect(entries.contains { $0.action == "upgrade apply" && $0.detail == "begun" })
        #expect(entries.contains { $0.action == "restore" && $0.subject == "\(directory)/etcd from latest" })
    }
}
