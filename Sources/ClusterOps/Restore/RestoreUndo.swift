import Etcd
import Glibc
package import Platform

extension RestorePlan {
    /// Puts the directory back that the last restore set aside; what the restore made is kept under a name that says so.
    /// With a control plane, its manifests are put back too. Returns what was done, a line each.
    package static func undo(
        dataDirectory: String, clock: WallClock = .system, surroundings: RestoreSurroundings = .system
    ) async throws -> [String] {
        guard var journal = try RestoreExecutor.readJournal(dataDirectory), journal.state != .undone else {
            throw BackupError(.notFound, "no restore into \(dataDirectory) is known that could be undone")
        }
        let record = journal.plan
        let lock = try RestoreLock.take(dataDirectory)
        defer { withExtendedLifetime(lock) {} }
        var lines: [String] = []
        let executor = RestoreExecutor(
            journal: journal, destinations: [], clock: clock, surroundings: surroundings, announce: nil, progress: nil)
        if let aside = record.asideDirectory {
            if try FileSystem.status(aside) != nil {
                if record.options.controlPlane {
                    for component in StaticPod.stopOrder { try await executor.stop(component) }
                }
                let evidence = EtcdPresence.evidence(dataDirectory: dataDirectory, ports: Set(record.ports))
                guard evidence.isEmpty else {
                    throw BackupError(
                        .refused,
                        "an etcd is running on \(dataDirectory): \(evidence.joined(separator: "; ")): stop it first")
                }
                if try FileSystem.status(dataDirectory) != nil {
                    let stamp = String(
                        formatRFC3339(clock.nowMilliseconds(), fraction: false).filter { $0 != "-" && $0 != ":" })
                    let kept = unusedPath("\(dataDirectory).undone-\(stamp)")
                    try FileSystem.rename(dataDirectory, to: kept)
                    lines.append("kept what the restore had made as \(kept)")
                }
                try FileSystem.rename(aside, to: dataDirectory)
                try AtomicFile.syncDirectory(FileSystem.parent(of: dataDirectory))
                lines.append("put \(aside) back as \(dataDirectory)")
            } else if journal.state == .finished {
                throw BackupError(.notFound, "\(aside) is gone: the restore into \(dataDirectory) cannot be undone")
            }
        } else if journal.state == .finished {
            throw BackupError(
                .notFound, "nothing was set aside when \(dataDirectory) was restored: there is nothing to put back")
        }
        if record.options.controlPlane {
            for component in StaticPod.stopOrder.reversed() { try executor.start(component) }
            lines.append("put the control plane's manifests back")
        }
        try FileSystem.removeTree(record.newDirectory)
        try FileSystem.removeTree(record.fetchDirectory)
        journal.state = .undone
        try executor.write(journal)
        return lines
    }
}
