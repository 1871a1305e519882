import Logging
import Platform

/// `file_sd_configs`: files are looked at every two seconds and read again when they change; one that cannot be read keeps
/// the targets it had.
struct FileDiscovery: Sendable {
    let patterns: [String]
    let refreshInterval: Int64

    func run(_ environment: DiscoveryEnvironment, update: @Sendable ([TargetGroup]) async -> Void) async {
        struct Seen: Equatable {
            var modified: Int64
            var size: Int64
            var inode: UInt64
        }
        let errors = environment.metrics.counter(
            "kops_discovery_file_errors_total", "Target files that could not be read.")
        var seen: [String: Seen] = [:]
        var groups: [String: [TargetGroup]] = [:]
        var first = true
        while !Task.isCancelled {
            var changed = first
            first = false
            let paths = Set(patterns.flatMap { FileSystem.glob($0) })
            for path in groups.keys where !paths.contains(path) {
                groups[path] = nil
                seen[path] = nil
                changed = true
            }
            for path in paths.sorted() {
                guard let status = try? FileSystem.status(path), status.isRegular else { continue }
                let now = Seen(modified: status.modified, size: status.size, inode: status.inode)
                if seen[path] == now { continue }
                seen[path] = now
                do {
                    var found = try environment.parseTargets(try FileSystem.read(path, maxBytes: 64 << 20), path)
                    for index in found.indices { found[index].labels["__meta_filepath"] = path }
                    groups[path] = found
                    changed = true
                } catch {
                    errors.add()
                    environment.log.error(
                        "a target file is not usable; the targets it had stay",
                        metadata: ["file": "\(path)", "error": "\(error)"])
                }
            }
            if changed { await update(groups.keys.sorted().flatMap { groups[$0] ?? [] }) }
            try? await Task.sleep(for: .milliseconds(min(refreshInterval, 2000)))
        }
    }
}
