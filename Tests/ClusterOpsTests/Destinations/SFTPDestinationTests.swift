import Glibc
import Platform
import Testing

@testable import ClusterOps

/// Against a real OpenSSH server.
@Suite(.enabled(if: SSHServer.isThere, "there is no sshd"), .serialized)
struct SFTPDestinationTests {
    private func problem(_ options: SFTPOptions) async throws -> String {
        let server = try #require(SSHServer.shared)
        do {
            _ = try await server.destination(options).list()
            return ""
        } catch let error as BackupError {
            #expect(error.code == .destination)
            return error.message
        }
    }

    @Test func aServerIsKnownOrNotTrusted() async throws {
        let server = try #require(SSHServer.shared)
        for file in ["other_hosts", "no_hosts"] {
            var options = server.options()
            options.knownHostsFile = "\(server.directory)/\(file)"
            let problem = try await problem(options)
            #expect(problem.contains("is it another server?"), "\(problem)")
            // Trying again would not help.
            #expect(!problem.contains("attempts"))
        }
        var options = server.options()
        options.knownHostsFile = nil
        #expect(try await problem(options).contains("no known_hosts file"))
        let line = try runProgram(["ssh-keygen", "-l", "-f", server.directory + "/host.pub"]).output
        let hash = try #require(line.split(separator: " ").first { $0.hasPrefix("SHA256:") })
        options.hostKeySHA256 = String(hash.dropFirst(7))
        #expect(try await problem(options) == "")
        options.hostKeySHA256 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"
        #expect(try await problem(options).contains("is it another server?"))
    }

    @Test func keysOpenOrAreRefused() async throws {
        let server = try #require(SSHServer.shared)
        var options = server.options()
        options.privateKeyFile = server.directory + "/stranger"
        #expect(try await problem(options).contains("does not take this key"))
        options.privateKeyFile = server.directory + "/sealed"
        options.passphraseFile = server.directory + "/passphrase"
        #expect(try await problem(options) == "")
    }

    @Test func aDirectoryThatMayNotBeWrittenIsSaid() async throws {
        let server = try #require(SSHServer.shared)
        var options = server.options()
        options.path = "/proc/kops"
        do {
            try await server.destination(options).put(file: try sourceFile(10), as: "x", progress: nil)
            Issue.record("it was put into /proc")
        } catch let error as BackupError {
            #expect(error.code == .destination || error.code == .notFound, "\(error)")
        }
    }

    @Test func aServerThatGoesAwayInTheMidstLeavesNoBackup() async throws {
        let server = try SSHServer()
        let options = server.options()
        let place = server.destination(options)
        let path = try sourceFile(40 << 20)
        let begun = Lock(false)
        let task = Task {
            try await place.put(file: path, as: "x") { done, _ in if done > 1 << 20 { begun.withLock { $0 = true } } }
        }
        while !begun.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(1)) }
        // The listener and the sessions it forked.
        try runProgram(["pkill", "-KILL", "-P", "\(server.pid)"])
        server.stop()
        await #expect(throws: (any Error).self) { try await task.value }
        #expect(!FileSystem.exists(options.path + "/x"))
        try server.start()
        #expect(try await place.list().isEmpty)
        try await place.put(file: path, as: "x", progress: nil)
        #expect(try await place.list().map(\.name) == ["x"])
        // What was left is removed when it is old.
        try AtomicFile.write([1], to: options.path + "/y.part")
        try await place.removeLeftovers(olderThan: WallClock.system.nowMilliseconds() - 86_400_000)
        #expect(FileSystem.exists(options.path + "/y.part"))
        try await place.removeLeftovers(olderThan: WallClock.system.nowMilliseconds() + 2 * 86_400_000)
        #expect(!FileSystem.exists(options.path + "/y.part"))
        server.stop()
    }

    @Test func linesOfListingsAreRead() {
        let now: Int64 = 1_795_570_000_000  // 2026-11-24T23:26:40Z
        let file = SFTPListing.parse("-rw-------    1 root     root         1234 Nov 24 10:20 a name.gz", now: now)
        #expect(file == StoredFile(name: "a name.gz", bytes: 1234, modified: 1_795_515_600_000))
        #expect(SFTPListing.parse("-rw-r--r-- 1 0 0 7 Dec 31 23:59 x", now: now)?.modified ?? 0 < now)
        #expect(SFTPListing.parse("-rw-r--r-- 1 0 0 7 Jan  1  2020 x", now: now)?.modified == 1_577_836_800_000)
        #expect(SFTPListing.parse("drwx------ 2 root root 4096 Nov 24 10:20 d", now: now) == nil)
        #expect(SFTPListing.parse("", now: now) == nil)
    }
}
