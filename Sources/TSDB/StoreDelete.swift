import Logging
package import MetricModel
import Platform

extension Store {
    /// Hides the samples within the bounds of all series that all matchers of one of the sets match, at once and for good;
    /// `cleanTombstones` gives their room back. What comes later is not touched, whatever its time.
    package func deleteSeries(_ matcherSets: [[LabelMatcher]], from: Int64, through: Int64) throws {
        if options.readOnly { throw StoreError(.readOnly, "the store is open for reading only") }
        try back.withLock { back in
            // What is only in the head would come back from the log: it is written out first.
            flush(&back)
            if back.sealedLog != nil { throw StoreError(.disk, "the head cannot be flushed now; see the log") }
            let newest = front.withLock { $0.head.newest }
            let last = min(through, max(newest, clock.nowMilliseconds()))
            for partition in partitions where partition.start <= last && partition.end > from {
                try partition.write { file in
                    var numbers: Set<UInt32> = []
                    for matchers in matcherSets { numbers.formUnion(try Postings.select(file, matchers)) }
                    if !numbers.isEmpty {
                        try Tombstones.add(file, numbers.sorted(), from: from, through: last)
                    }
                }
            }
        }
    }

    /// Writes the days anew that something was deleted of, without it.
    package func cleanTombstones() throws {
        if options.readOnly { throw StoreError(.readOnly, "the store is open for reading only") }
        for partition in partitions where try partition.read({ try Tombstones.exist($0) }) {
            try rewrite(partition)
        }
    }

    /// Copies every day's file, each as it is at one moment, into a new directory `snapshots/<name>` of the store's own, which
    /// a sidecar can be started with. Returns the name.
    package func snapshot(skipHead: Bool) throws -> String {
        if options.readOnly { throw StoreError(.readOnly, "the store is open for reading only") }
        if !skipHead { flush() }
        let digits = String(UInt64.random(in: 0...(.max)), radix: 16)
        let stamp = formatRFC3339(clock.nowMilliseconds(), fraction: false).filter { $0 != "-" && $0 != ":" }
        let name = "\(stamp)-\(digits)"
        let target = "\(options.path)/snapshots/\(name)"
        try FileSystem.makeDirectories(target + ".part")
        for partition in partitions {
            try partition.copy(to: "\(target).part/\(Partition.name(partition.start))")
        }
        try FileSystem.rename(target + ".part", to: target)
        try AtomicFile.syncDirectory(options.path + "/snapshots")
        return name
    }
}
