import Glibc
import Platform
import TestSupport
import Testing

@testable import ClusterOps

@Suite struct LocalExecutorTests {
    private let local = LocalExecutor(host: "here")

    @Test func argumentsReachTheProgramUnread() async throws {
        let odd = ["a b", "$HOME", "'quoted'", "*", "", "line\nbreak", "--", "\\", "ü"]
        let result = try await local.run(HostCommand(["printf", "<%s>"] + odd))
        #expect(result == CommandResult(status: 0, output: odd.map { "<\($0)>" }.joined()))
    }

    @Test func statusOutputAndErrorsAreToldApart() async throws {
        let result = try await local.run(HostCommand(["sh", "-c", "echo out; echo err >&2; exit 7"]))
        #expect(result == CommandResult(status: 7, output: "out\n", errors: "err\n"))
        let killed = try await local.run(HostCommand(["sh", "-c", "kill -INT $$"]))
        #expect(killed.status == 130)
        let absent = try await local.run(HostCommand(["no-such-program-here"]))
        #expect(absent.status == 127)
    }

    @Test func inputIsHandedIn() async throws {
        var command = HostCommand(["wc", "-c"])
        command.input = [UInt8](repeating: 65, count: 300_000)
        #expect(try await local.run(command).output == "300000\n")
    }

    @Test func tooMuchOutputKeepsBeginningAndEnd() async throws {
        var command = HostCommand(["seq", "1", "300000"])
        command.outputLimit = 1000
        let output = try await local.run(command).output
        #expect(output.hasPrefix("1\n2\n"))
        #expect(output.hasSuffix("299999\n300000\n"))
        #expect(output.utf8.count < 1200)
        #expect(output.contains("bytes left out"))
    }

    @Test func whatTakesTooLongIsEnded() async throws {
        let command = HostCommand(["sh", "-c", "sleep 300 & echo begun; wait"], timeout: 1000)
        let before = monotonicNanoseconds()
        await #expect(throws: ExecutorError(.timeout, host: "here", took(command))) { try await local.run(command) }
        #expect(monotonicNanoseconds() - before < 200_000_000_000)
    }

    @Test func aDaemonThatKeepsTheStreamsOpenDoesNotHoldTheRunner() async throws {
        let before = monotonicNanoseconds()
        let result = try await runProcess(
            ["sh", "-c", "setsid sleep 300 & echo hi"], timeout: 120_000, outputLimit: 1000)
        #expect(result.output == "hi\n")
        #expect(monotonicNanoseconds() - before < 250_000_000_000)
    }

    /// A sender that was killed leaves its command waiting: it must not run after the successor's.
    @Test func exclusiveCommandsRunOneAfterAnotherAndOnlyTheLastThatWaits() async throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let log = directory + "/log"
        let go = directory + "/go"
        func command(_ name: String) -> HostCommand {
            var command = HostCommand(
                [
                    "sh", "-c",
                    "echo \(name) begins >> \(log); until [ -e \(go) ]; do sleep 0.05; done; echo \(name) ends >> \(log)",
                ], timeout: 120_000)
            command.isExclusive = true
            // Not the machine's own: others are at work here meanwhile.
            command.lockFile = directory + "/lock"
            command.logFile = directory + "/output"
            return command
        }
        let last = directory + "/lock.last"
        func token() -> String { (try? FileSystem.readText(last)) ?? "" }
        let first = command("first"), second = command("second"), third = command("third")
        async let a = local.run(first)
        try await eventually("the first runs") { FileSystem.exists(log) }
        let before = token()
        let b = Task { try await local.run(second) }
        try await eventually("the second waits") { token() != before }
        let between = token()
        async let c = local.run(third)
        try await eventually("the third waits") { token() != between }
        try AtomicFile.write([], to: go)
        #expect(try await a.isSuccess)
        let error = await #expect(throws: ExecutorError.self) { try await b.value }
        #expect(error?.message.contains("took its place") == true)
        #expect(try await c.isSuccess)
        #expect(
            try FileSystem.readText(log).split(separator: "\n")
                == ["first begins", "first ends", "third begins", "third ends"])
    }

    @Test func aCancelledTaskEndsTheProgram() async throws {
        let task = Task { try await runProcess(["sleep", "300"], timeout: 400_000, outputLimit: 100) }
        try await Task.sleep(for: .milliseconds(200))
        let before = monotonicNanoseconds()
        task.cancel()
        await #expect(throws: (any Error).self) { try await task.value }
        #expect(monotonicNanoseconds() - before < 100_000_000_000)
    }
}

/// Against the real OpenSSH server; nothing is checked where there is none.
@Suite(.serialized) struct SSHExecutorTests {
    private func withServer(_ body: (SecureShellServer, SSHControlDirectory) async throws -> Void) async throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        guard let server = try await SecureShellServer.start(in: directory) else { return }
        try await body(server, try SSHControlDirectory())
        try await server.stop()
    }

    private func executor(_ server: SecureShellServer, _ control: SSHControlDirectory) -> SSHExecutor {
        SSHExecutor(host: "node", address: "127.0.0.1", options: server.options, control: control)
    }

    @Test func argumentsInputAndStatusCrossTheConnection() async throws {
        try await withServer { server, control in
            let far = executor(server, control)
            let odd = ["a b", "$HOME", "'quoted'", "*", "", "line\nbreak", "\\", "ü"]
            var command = HostCommand(["printf", "<%s>"] + odd)
            command.needsRoot = geteuid() == 0
            #expect(try await far.run(command).output == odd.map { "<\($0)>" }.joined())
            var failing = HostCommand(["sh", "-c", "cat; echo err >&2; exit 3"])
            failing.input = Array("in".utf8)
            failing.needsRoot = false
            let answer = try await far.run(failing)
            #expect(answer == CommandResult(status: 3, output: "in", errors: "err\n"), "\(answer)")
            // One connection serves all of it.
            let log = try FileSystem.readText(server.directory + "/log")
            #expect(log.split(separator: "\n").filter { $0.contains("Accepted publickey") }.count == 1)
            await far.close()
        }
    }

    @Test func whatTakesTooLongIsEndedThereToo() async throws {
        try await withServer { server, control in
            let far = executor(server, control)
            let mark = server.directory + "/mark"
            var command = HostCommand(["sh", "-c", "sleep 300; touch \(mark)"], timeout: 1000)
            command.needsRoot = false
            await #expect(throws: ExecutorError(.timeout, host: "node", took(command))) { try await far.run(command) }
            try await eventually("nothing of it runs any more") {
                try FileSystem.list("/proc").allSatisfy { entry in
                    guard Int(entry) != nil, let line = try? FileSystem.readText("/proc/\(entry)/cmdline") else {
                        return true
                    }
                    return !line.contains("touch \(mark)")
                }
            }
            await far.close()
        }
    }

    @Test func aChangedHostKeyIsRefusedBeforeAnythingRuns() async throws {
        try await withServer { server, control in
            try await server.stop()
            try await server.newHostKey()
            try await server.start()
            let mark = server.directory + "/mark"
            let error = await #expect(throws: ExecutorError.self) {
                try await executor(server, control).run(HostCommand(["touch", mark]))
            }
            #expect(error?.kind == .hostKeyChanged)
            #expect(error?.message.contains("another host key") == true)
            #expect(!FileSystem.exists(mark))
        }
    }

    @Test func anUnknownHostKeyAndARefusedUserAreToldApart() async throws {
        try await withServer { server, control in
            try AtomicFile.write([], to: server.knownHosts)
            var error = await #expect(throws: ExecutorError.self) {
                try await executor(server, control).run(HostCommand(["true"]))
            }
            #expect(error?.kind == .hostKeyUnknown)
            try server.trustHostKey()
            try AtomicFile.write([], to: server.directory + "/authorized_keys")
            error = await #expect(throws: ExecutorError.self) {
                try await executor(server, control).run(HostCommand(["true"]))
            }
            #expect(error?.kind == .authentication)
        }
    }

    @Test func aMachineThatIsAwayIsSaidToBe() async throws {
        try await withServer { server, control in
            let far = executor(server, control)
            #expect(try await far.run(HostCommand(["true"])).isSuccess)
            await far.close()
            try await server.stop()
            let error = await #expect(throws: ExecutorError.self) { try await far.run(HostCommand(["true"])) }
            #expect(error?.kind == .unreachable)
            #expect(error?.isTransient == true)
        }
    }
}

@Suite struct ConnectionErrorTests {
    @Test(arguments: [
        ("kex_exchange_identification: read: Connection reset by peer\n", ExecutorError.Kind.unreachable),
        ("ssh: connect to host w1 port 22: No route to host\n", .unreachable),
        ("Timeout, server w1 not responding.\n", .unreachable),
        (
            "No ED25519 host key is known for w1 and you have requested strict checking.\nHost key verification failed.\n",
            .hostKeyUnknown
        ),
        ("root@w1: Permission denied (publickey).\n", .authentication),
        ("", .unreachable),
    ]) func wordsOfTheClient(_ text: String, _ kind: ExecutorError.Kind) {
        #expect(SSHExecutor.connectionError(text, host: "w1", address: "w1")?.kind == kind)
    }

    @Test func aProgramThatEndsWith255IsNoConnectionError() {
        #expect(SSHExecutor.connectionError("kubeadm: it broke\n", host: "w1", address: "w1") == nil)
    }
}
