import FoundationEssentials
import Glibc
import Platform

/// What became of another member.
struct RemoteOutcome: Sendable {
    var host: RemoteMembers.Host
    /// Nil where it is restored.
    var problem: String?
}

/// Restores the other members over SSH, each by the plan's own command on its own node. Everything there goes on if the
/// connection or this process ends: done again, it finds by the journal there how far that node is.
///
///     check the program → copy it, where it is missing → copy the backup → have each make its plan   (nothing is touched yet)
///     → run it on all at once, its lines told as they come, until it says that it is done
///
/// The key is handed over on standard input, so that it is on no command line and in no file there. Thread-safe.
final class RemoteRestore: Sendable {
    let members: RemoteMembers
    private let record: RestorePlan.Record
    private let surroundings: RestoreSurroundings
    private let executors: [String: any Executor]
    private let tell: @Sendable (String) -> Void
    private let running = Lock<Task<[RemoteOutcome], Never>?>(nil)
    private let programs = Lock<[String: String]>([:])

    /// How long one node's restore may take.
    static let limit: Int64 = 2 * 3_600_000

    init(
        _ members: RemoteMembers, record: RestorePlan.Record, surroundings: RestoreSurroundings,
        tell: @escaping @Sendable (String) -> Void
    ) throws {
        self.members = members
        self.record = record
        self.surroundings = surroundings
        self.tell = tell
        let control = try SSHControlDirectory()
        var executors: [String: any Executor] = [:]
        for host in members.hosts {
            var ssh = members.options.ssh
            ssh.user = host.user ?? ssh.user
            ssh.port = host.port ?? ssh.port
            executors[host.name] =
                surroundings.executor?(host.name)
                ?? SSHExecutor(host: host.name, address: host.address, options: ssh, control: control)
        }
        self.executors = executors
    }

    func close() async { for executor in executors.values { await executor.close() } }

    private var directory: String { members.directory(record.options.dataDirectory) }

    private func executor(_ host: RemoteMembers.Host) throws -> any Executor {
        guard let executor = executors[host.name] else {
            throw BackupError(.invalid, "there is no way to \(host.name)")
        }
        return executor
    }

    /// Its words where it did not end well.
    @discardableResult
    private func run(_ host: RemoteMembers.Host, _ command: HostCommand) async throws -> String {
        let result: CommandResult
        do { result = try await executor(host).run(command) } catch let error as ExecutorError {
            throw BackupError(.failed, "\(error)")
        }
        guard result.isSuccess else {
            throw BackupError(.failed, "\(host.title): \(command.text.prefix(200)): \(result.lastWords)")
        }
        return result.output
    }

    private func command(_ host: RemoteMembers.Host, _ program: String) -> MemberCommand {
        MemberCommand(
            record: record, member: host.name, program: program, from: directory,
            keyFile: record.options.keyFile == nil ? nil : SealingKeys.standardInput)
    }

    /// With the key for it to read.
    private func hostCommand(_ arguments: [String], timeout: Int64) throws -> HostCommand {
        var command = HostCommand(arguments, timeout: timeout)
        if let file = record.options.keyFile { command.input = Array(try SealingKeys.text(of: file).utf8) }
        command.outputLimit = 64 << 10
        return command
    }

    /// What a person types there, where this failed. The backup lies there; the key has to be brought.
    func byHand(_ host: RemoteMembers.Host) async -> String {
        let begun = (try? await journal(host)) != nil
        var command = command(host, programs.withLock { $0[host.name] } ?? "kops-sidecar")
        command.keyFile = record.options.keyFile
        return (begun ? command.resuming : command.insisting).map(quoteForShell).joined(separator: " ")
    }

    // MARK: before anything is touched

    /// Every node has what it takes and has made its plan; the first that has not is thrown, a refusal as one.
    func prepare() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for host in members.hosts { group.addTask { try await self.prepare(host) } }
            try await group.waitForAll()
        }
    }

    private func prepare(_ host: RemoteMembers.Host) async throws {
        try await run(host, HostCommand(["mkdir", "-p", "-m", "700", directory]))
        let program = try await installed(host)
        programs.withLock { $0[host.name] = program }
        try await copyBackup(host)
        // One that this restore has begun there needs no plan any more.
        if try await journal(host) != nil { return }
        let arguments = command(host, program).insisting + ["--dry-run"]
        let result: CommandResult
        do { result = try await executor(host).run(try hostCommand(arguments, timeout: 600_000)) } catch let error
            as ExecutorError
        {
            throw BackupError(.failed, "\(error)")
        }
        guard result.isSuccess else {
            throw BackupError(
                result.status == 3 ? .refused : .failed, "on \(host.title), nothing is changed yet: \(result.lastWords)"
            )
        }
        let notes = result.output.split(separator: "\n").filter {
            $0.hasPrefix("note: ") && !MemberCommand.isForOthers(note: String($0))
        }
        for note in notes { tell("\(host.name): \(note)") }
        tell("\(host.name): ready")
    }

    /// The program there: an installed one of this version, else a copy of this one.
    private func installed(_ host: RemoteMembers.Host) async throws -> String {
        let wanted = members.options.version
        let look = HostCommand([
            "sh", "-c",
            "uname -m; for p in \"$1\" kops-sidecar; do v=$(\"$p\" --version 2> /dev/null) && echo \"$p=$v\"; done; true",
            "sh", directory + "/kops-sidecar",
        ])
        let lines = try await run(host, look).split(separator: "\n").map(String.init)
        for line in lines.dropFirst() {
            if let equals = line.lastIndex(of: "="), line[line.index(after: equals)...] == wanted {
                return String(line[..<equals])
            }
        }
        // By number: it is another process that reads it.
        let own = members.options.program ?? "/proc/\(getpid())/exe"
        if members.options.program == nil, let machine = lines.first, machine != Self.machine {
            throw BackupError(
                .failed,
                "\(host.title) is \(machine), this machine \(Self.machine): name a program for it with --ssh-binary")
        }
        tell("\(host.name): copying the program")
        let target = directory + "/kops-sidecar"
        try await copy(file: own, to: target, host)
        try await run(host, HostCommand(["chmod", "700", target]))
        let version = try await run(host, HostCommand([target, "--version"])).split(separator: "\n").first ?? ""
        guard version == wanted else {
            throw BackupError(.failed, "\(host.title): the copied program is version \(version), this one is \(wanted)")
        }
        return target
    }

    private func copyBackup(_ host: RemoteMembers.Host) async throws {
        let files = record.source.files(of: host.name)
        for part in files { try await copy(file: part.path, to: directory + "/" + part.file, host) }
        let manifests = Dictionary(
            files.compactMap { part in part.manifest.map { ($0.name, $0) } }, uniquingKeysWith: { a, _ in a })
        for manifest in manifests.values.sorted(by: { $0.name < $1.name }) {
            var command = HostCommand(["sh", "-c", "cat > \"$1\"", "sh", "\(directory)/\(manifest.name).json"])
            command.input = try manifest.encoded()
            try await run(host, command)
        }
    }

    /// Nothing is sent where it is there already, byte for byte.
    private func copy(file: String, to target: String, _ host: RemoteMembers.Host) async throws {
        let hash = try await cancellable { isCancelled in
            let reader = try StoredFileReader(file, keys: nil, opensNothing: true)
            try reader.forEach { _ in
                if isCancelled() { throw BackupError(.cancelled, "cancelled while reading \(file)") }
            }
            return hexadecimal(reader.finishHash())
        }
        let there = HostCommand(
            ["sh", "-c", "[ ! -e \"$1\" ] || sha256sum < \"$1\"", "sh", target], timeout: 600_000)
        if try await run(host, there).hasPrefix(hash) { return }
        var command = HostCommand(
            ["sh", "-c", "umask 077; cat > \"$1.part\" && sync \"$1.part\" && mv \"$1.part\" \"$1\"", "sh", target],
            timeout: 3_600_000)
        command.inputFile = file
        try await run(host, command)
        guard try await run(host, there).hasPrefix(hash) else {
            throw BackupError(.failed, "\(host.title): \(target) is not what was sent")
        }
    }

    private static let machine: String = {
        var name = utsname()
        uname(&name)
        return withUnsafeBytes(of: &name.machine) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }()

    // MARK: doing it

    /// Begins on all nodes at once; a second call finds them under way.
    func begin() {
        running.withLock { running in
            guard running == nil else { return }
            running = Task { await self.restoreAll() }
        }
    }

    /// What became of them, once all have ended.
    func finish() async -> [RemoteOutcome] {
        begin()
        return await running.withLock { $0 }?.value ?? []
    }

    private func restoreAll() async -> [RemoteOutcome] {
        await withTaskGroup(of: RemoteOutcome.self) { group in
            for host in members.hosts {
                group.addTask {
                    do {
                        try await self.restore(host)
                        return RemoteOutcome(host: host)
                    } catch {
                        return RemoteOutcome(host: host, problem: "\(error)")
                    }
                }
            }
            var outcomes: [RemoteOutcome] = []
            for await outcome in group { outcomes.append(outcome) }
            return outcomes.sorted { $0.host.name < $1.host.name }
        }
    }

    private func restore(_ host: RemoteMembers.Host) async throws {
        let deadline = ContinuousClock.now + .milliseconds(Self.limit)
        var lost = 0
        while true {
            do {
                if try await attempt(host) { return }
                lost = 0
            } catch let error as ExecutorError where error.isTransient && lost < 5 {
                // The program there goes on by itself meanwhile.
                lost += 1
                tell("\(host.name): \(error.message): trying again")
            } catch let error as ExecutorError {
                throw BackupError(.failed, "\(error)")
            }
            guard ContinuousClock.now < deadline else {
                throw BackupError(.failed, "\(host.title): it takes too long")
            }
            try await Task.sleep(for: surroundings.remotePause)
        }
    }

    /// True once it is done there; false where another process is at it.
    private func attempt(_ host: RemoteMembers.Host) async throws -> Bool {
        let there = try await journal(host)
        if there?.state == .finished { return true }
        let program: String
        if let known = programs.withLock({ $0[host.name] }) {
            program = known
        } else {
            // After a kill of this process.
            try await prepare(host)
            program = programs.withLock { $0[host.name] } ?? "kops-sidecar"
        }
        let command = command(host, program)
        let arguments = there == nil ? command.insisting : command.resuming
        // The plan is known: what is told begins where its first step is announced.
        let tell = self.tell
        let firsts = Lock(there == nil ? 0 : 2)
        let result = try await executor(host).run(try hostCommand(arguments, timeout: Self.limit)) { line in
            let isStep = firsts.withLock { seen in
                if line.hasPrefix("1. ") { seen += 1 }
                return seen >= 2
            }
            if isStep, !MemberCommand.isForOthers(note: line) { tell("\(host.name): \(line)") }
        }
        if result.isSuccess { return true }
        // ssh's own status, with nothing but the program's lines before it: our program ends with others.
        if result.status == 255 {
            throw ExecutorError(.unreachable, host: host.name, "the connection broke; what runs there goes on")
        }
        if try await journal(host)?.state == .finished { return true }
        if result.lastWords.contains("is under way") { return false }
        throw BackupError(.failed, "\(host.title): \(result.lastWords)")
    }

    /// The journal there, where it is of this very restore; nil where there is none of it.
    private func journal(_ host: RemoteMembers.Host) async throws -> RestoreJournal? {
        let path = RestoreExecutor.journalPath(record.options.dataDirectory)
        let command = HostCommand(["sh", "-c", "[ ! -e \"$1\" ] || cat \"$1\"", "sh", path])
        let result = try await executor(host).run(command)
        guard result.isSuccess,
            let journal = try? JSONDecoder().decode(RestoreJournal.self, from: Data(result.output.utf8)),
            journal.plan.options.from == directory || journal.plan.options.source.hasPrefix(directory + "/")
        else { return nil }
        return journal
    }

    /// Takes away what was copied there, where all is done.
    func tidy() async {
        for host in members.hosts {
            _ = try? await run(host, HostCommand(["rm", "-rf", "--", directory]))
        }
    }
}
