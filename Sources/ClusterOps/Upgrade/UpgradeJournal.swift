import FoundationEssentials
import Glibc
package import Platform

/// Where a run is written down before each of its steps.
package protocol UpgradeJournal: Sendable {
    /// Nil where no run was ever begun.
    func load() throws -> UpgradeRun?
    /// Durable when it returns.
    func save(_ run: UpgradeRun) throws
    /// What another process asked of the run since the last call.
    func takeRequest() -> UpgradeMachine.Request?
}

/// `upgrade.json` in the data directory; beside it `upgrade.lock`, held by whoever is at the run, and `upgrade.request` from
/// whoever wants it to pause or abort. Earlier runs are kept as `upgrade-<time>.json`. Thread-safe.
package struct FileUpgradeJournal: UpgradeJournal {
    private let directory: String
    private static let keptRuns = 20

    package init(directory: String) { self.directory = directory }

    private var path: String { FileSystem.resolve("upgrade.json", in: directory) }
    private var lockPath: String { FileSystem.resolve("upgrade.lock", in: directory) }
    private var requestPath: String { FileSystem.resolve("upgrade.request", in: directory) }

    package func load() throws -> UpgradeRun? {
        guard FileSystem.exists(path) else { return nil }
        let bytes = try FileSystem.read(path, maxBytes: 32 << 20)
        let run: UpgradeRun
        do {
            run = try JSONDecoder().decode(UpgradeRun.self, from: Data(bytes))
        } catch {
            throw UpgradeError(.state, "\(path) is no journal of an upgrade that this version reads: \(error)")
        }
        guard run.formatVersion == UpgradeRun.formatVersion else {
            throw UpgradeError(
                .state,
                "\(path) has format version \(run.formatVersion), this version reads \(UpgradeRun.formatVersion)")
        }
        return run
    }

    package func save(_ run: UpgradeRun) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        try FileSystem.makeDirectories(directory)
        try AtomicFile.write(Array(try encoder.encode(run)), to: path, mode: 0o600)
    }

    /// Puts a run that is over aside, so that the next one may begin.
    package func archive() throws {
        guard let old = try load() else { return }
        let stamp = formatRFC3339(old.startedAt, fraction: false).filter { $0 != "-" && $0 != ":" }
        try FileSystem.rename(path, to: FileSystem.resolve("upgrade-\(stamp).json", in: directory))
        for past in FileSystem.glob(FileSystem.resolve("upgrade-*.json", in: directory)).dropLast(Self.keptRuns) {
            try FileSystem.removeFile(past)
        }
    }

    /// Passes `request` on to whoever is at the run, and waits until it was taken. Where nobody is, or whoever was let go without
    /// looking again, the request is the caller's, and the lock with it. One that was not taken after `patience` milliseconds stays
    /// there for who holds the lock; nil then too.
    package func pass(_ request: UpgradeMachine.Request, patience: Int = 10_000) async throws -> FileLock? {
        if let lock = try freeLock() { return lock }
        try AtomicFile.write(Array(request.rawValue.utf8), to: requestPath, mode: 0o600)
        for _ in 0..<max(1, patience / 20) {
            guard FileSystem.exists(requestPath) else { return nil }
            if let lock = try freeLock() { return takeRequest() == nil ? nil : lock }
            try await Task.sleep(for: .milliseconds(20))
        }
        return nil
    }

    package func takeRequest() -> UpgradeMachine.Request? {
        guard FileSystem.exists(requestPath) else { return nil }
        let text = try? FileSystem.readText(requestPath, maxBytes: 100)
        try? FileSystem.removeFile(requestPath)
        return text.flatMap { UpgradeMachine.Request(rawValue: $0.filter { !$0.isWhitespace }) }
    }

    /// Takes the lock for the life of the returned object. Throws where another process is at the run.
    package func lock() throws -> FileLock {
        // Whoever has just brought the run to an end lets go within moments.
        guard let lock = try freeLock(patience: 500) else {
            throw UpgradeError(.state, "another process is at this upgrade: it holds \(lockPath)")
        }
        return lock
    }

    /// Nil where some process is at the run.
    private func freeLock(patience: Int = 0) throws -> FileLock? {
        try FileSystem.makeDirectories(directory)
        return try FileLock(lockPath, patience: patience)
    }

    /// Whether some process is at the run.
    package var isLocked: Bool { (try? freeLock()) == nil }
}
