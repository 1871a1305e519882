import FoundationEssentials
import Glibc
import Platform

/// The journal of this node's renewal: one file beside the copies, written before each step. Calls block.
struct RenewalJournal: Sendable {
    let layout: KubeadmLayout

    /// kubeadm keeps its own copies there too; on the same file system as the manifests.
    private var directory: String { layout.kubernetesDirectory + "/tmp" }
    private var path: String { directory + "/kops-renewal.json" }

    private struct Record: Codable {
        static let version = 1
        var formatVersion = Record.version
        var machine: RenewalMachine
    }

    /// What a renewal needs beside its journal.
    func workDirectory(_ plan: RenewalPlan) -> String { "\(directory)/kops-renewal-\(plan.id)" }
    func copyDirectory(_ plan: RenewalPlan) -> String { workDirectory(plan) + "/kubernetes" }
    func heldDirectory(_ plan: RenewalPlan) -> String { workDirectory(plan) + "/held" }

    /// Nil where no renewal was ever begun.
    func read() throws -> RenewalMachine? {
        guard FileSystem.exists(path) else { return nil }
        let bytes = try FileSystem.read(path, maxBytes: 4 << 20)
        guard let record = try? JSONDecoder().decode(Record.self, from: Data(bytes)),
            record.formatVersion == Record.version
        else { throw RenewalError("\(path) is no journal that this version reads: look at it and remove it") }
        return record.machine
    }

    func write(_ machine: RenewalMachine) throws {
        try FileSystem.makeDirectories(directory, mode: 0o700)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        try AtomicFile.write(Array(try encoder.encode(Record(machine: machine))), to: path, mode: 0o600)
    }

    /// Removes the oldest copies. Those that hold a manifest are kept whatever their age.
    func prune(keeping count: Int) {
        let found = FileSystem.glob(directory + "/kops-renewal-2*").filter { path in
            (try? FileSystem.list(path + "/held"))?.isEmpty ?? true
        }
        for path in found.dropLast(max(1, count)) { try? FileSystem.removeTree(path) }
    }

    /// Only one renewal at a time on a node. A kubeadm that a killed sidecar has left behind holds the lock too.
    func lock() throws -> FileLock {
        try FileSystem.makeDirectories(directory, mode: 0o700)
        guard let lock = try FileLock(directory + "/kops-renewal.lock", patience: 200) else {
            throw RenewalError("another renewal is under way on this node")
        }
        return lock
    }
}
