import MetricModel
import Platform

/// Why a scrape counts as failed though the target answered.
struct ScrapeFailure: Error, CustomStringConvertible {
    let description: String
}

/// A body that broke a limit or the format, and what had been read of it by then.
struct FailedBody: Error, CustomStringConvertible {
    let counts: ScrapeCounts
    let reason: any Error
    var description: String { "\(reason)" }
}

/// What one body brought.
struct ScrapeCounts {
    var scraped = 0
    var kept = 0
    var added = 0
    var outcome = AppendOutcome()
}

/// What a scrape needs while it is read and not afterwards: lent to one scrape at a time, so that there are as many as threads
/// and not as many as targets.
final class ScrapeScratch {
    var batch = SampleBatch()
    /// For each of the batch's samples the series' place in the cache.
    var places: [UInt32] = []

    private static let idle = Lock<[ScrapeScratch]>([])

    static func lend<R>(_ body: (ScrapeScratch) throws -> R) rethrows -> R {
        let scratch = idle.withLock { $0.popLast() } ?? ScrapeScratch()
        defer {
            // One of an unusually large target is not kept.
            if scratch.places.capacity < 1 << 17 { idle.withLock { if $0.count < 8 { $0.append(scratch) } } }
        }
        scratch.removeAll()
        return try body(scratch)
    }

    func removeAll() {
        batch.removeAll()
        places.removeAll(keepingCapacity: true)
    }
}

/// One target's series between scrapes and how bodies become batches. Used by one scrape at a time.
struct ScrapeBody {
    let config: ScrapeConfig
    let targetLabels: Labels
    private var cache = ScrapeCache()
    private(set) var metadata: [String: MetricMetadata] = [:]

    init(config: ScrapeConfig, targetLabels: Labels) {
        self.config = config
        self.targetLabels = targetLabels
    }

    /// Reads a body into the store. Nothing of a body that breaks a limit or the format is stored; the series of the scrape
    /// before are then marked as ended, as they are where nil says that there is no body.
    mutating func ingest(
        _ body: UnsafeRawBufferPointer?, _ format: ExpositionFormat, at time: Int64, appender: any SampleAppender
    ) throws -> ScrapeCounts {
        try ScrapeScratch.lend { try ingest(body, format, at: time, appender: appender, $0) }
    }

    private mutating func ingest(
        _ body: UnsafeRawBufferPointer?, _ format: ExpositionFormat, at time: Int64, appender: any SampleAppender,
        _ scratch: ScrapeScratch
    ) throws -> ScrapeCounts {
        cache.begin()
        var counts = ScrapeCounts()
        var failure: (any Error)?
        if let body {
            do {
                try parse(body, format, time, appender, &counts, scratch)
            } catch {
                failure = error
                // As if nothing had come: every series of the scrape before ends.
                cache.begin()
                scratch.removeAll()
                counts.added = 0
                for index in cache.entries.indices where cache.entries[index].seen + 2 == cache.scrape {
                    markEnd(index, time, scratch)
                }
                for index in cache.entries.indices where cache.entries[index].seen + 1 == cache.scrape {
                    markEnd(index, time, scratch)
                }
            }
        }
        if failure == nil {
            for index in cache.vanished(trackTimestamps: config.trackTimestampsStaleness) {
                markEnd(index, time, scratch)
            }
        }
        try store(appender, &counts, scratch)
        cache.sweep()
        if let failure { throw FailedBody(counts: counts, reason: failure) }
        return counts
    }

    private func markEnd(_ index: Int, _ time: Int64, _ scratch: ScrapeScratch) {
        let entry = cache.entries[index]
        guard entry.ref != 0, config.trackTimestampsStaleness || !entry.hasTimestamp else { return }
        scratch.batch.append(ref: entry.ref, timestamp: time, value: .staleMarker)
        scratch.places.append(UInt32(index))
    }

    private mutating func parse(
        _ bytes: UnsafeRawBufferPointer, _ format: ExpositionFormat, _ time: Int64, _ appender: any SampleAppender,
        _ counts: inout ScrapeCounts, _ scratch: ScrapeScratch
    ) throws {
        var parser = ExpositionParser(bytes, format)
        parser.skipsMetadata = cache.scrape % 20 != 1 && !metadata.isEmpty
        while true {
            if let start = parser.startOfSample(), let index = cache.expectedEntry(bytes, at: start) {
                let (value, stamp) = try parser.sample(endingAt: start + Int(cache.entries[index].length))
                try take(index, value, stamp, time, &counts, scratch)
                continue
            }
            switch try parser.next() {
            case .sample(let range, let value, let stamp):
                let text = UnsafeRawBufferPointer(rebasing: bytes[range])
                let index: Int
                if let known = cache.entry(text, at: range.lowerBound) {
                    index = known
                } else if isOverLimit(counts) {
                    // Only counted, as Prometheus does, and not made known to the store.
                    counts.scraped += 1
                    if try storedLabels(text, parser.line) != nil { counts.kept += 1 }
                    continue
                } else {
                    do {
                        index = try learn(text, at: range.lowerBound, parser.line, appender)
                    } catch let broken as ScrapeFailure {
                        // The series that broke a limit counts as scraped.
                        counts.scraped += 1
                        throw broken
                    }
                    counts.added += cache.entries[index].ref == 0 ? 0 : 1
                }
                try take(index, value, stamp, time, &counts, scratch)
            case .type(let metric, let type):
                let name = string(bytes, metric)
                let kind = string(bytes, type)
                metadata[name, default: MetricMetadata(type: "unknown")].type = kind == "untyped" ? "unknown" : kind
            case .help(let metric, let help):
                metadata[string(bytes, metric), default: MetricMetadata(type: "unknown")].help =
                    unescapedHelp(string(bytes, help))
            case .unit(let metric, let unit):
                metadata[string(bytes, metric), default: MetricMetadata(type: "unknown")].unit = string(bytes, unit)
            case .end:
                if isOverLimit(counts) { throw ScrapeFailure(description: "sample limit exceeded") }
                return
            }
        }
    }

    @inline(__always)
    private func isOverLimit(_ counts: ScrapeCounts) -> Bool {
        config.limits.samples > 0 && counts.kept > config.limits.samples
    }

    @inline(__always)
    private mutating func take(
        _ index: Int, _ value: Double, _ stamp: Int64?, _ time: Int64, _ counts: inout ScrapeCounts,
        _ scratch: ScrapeScratch
    ) throws {
        counts.scraped += 1
        let stamp = config.honorTimestamps ? stamp : nil
        let first = cache.see(index, hasTimestamp: stamp != nil)
        let ref = cache.entries[index].ref
        if ref == 0 { return }
        counts.kept += 1
        // Read on to its end, so that the count is right; nothing of it will be stored.
        if isOverLimit(counts) { return }
        // A series given twice in one body: the store would call the second a duplicate; with a time of its own it may stand.
        if !first, stamp == nil {
            counts.outcome.duplicate += 1
            return
        }
        scratch.batch.append(ref: ref, timestamp: stamp ?? time, value: value)
        scratch.places.append(UInt32(index))
    }

    private mutating func learn(
        _ text: UnsafeRawBufferPointer, at place: Int, _ line: Int, _ appender: any SampleAppender
    ) throws -> Int {
        if cache.isFull { throw ScrapeFailure(description: "the target's series take more memory than can be kept") }
        guard let labels = try storedLabels(text, line) else { return cache.add(text, at: place, ref: 0) }
        try checkLimits(labels)
        return cache.add(text, at: place, ref: try appender.resolve([labels])[0])
    }

    /// The labels a series of the exposition is stored under; nil where relabelling drops it.
    private func storedLabels(_ text: UnsafeRawBufferPointer, _ line: Int) throws -> Labels? {
        let pairs: [(name: String, value: String)]
        do {
            pairs = try parseSeriesText(text)
        } catch {
            throw ExpositionError(line: line, message: error.description)
        }
        var builder = LabelsBuilder()
        for (name, value) in pairs { builder.set(name, value) }
        targetLabels.forEachString { name, value in
            if config.honorLabels {
                if builder[name] == nil { builder.set(name, value) }
                return
            }
            if let own = builder[name] {
                // The exporter's own label steps aside, once more where that name is taken too.
                var aside = "exported_" + name
                while builder[aside] != nil || targetLabels[aside] != nil { aside = "exported_" + aside }
                builder.set(aside, own)
            }
            builder.set(name, value)
        }
        guard let labels = relabel(builder.labels(), with: config.metricRelabel), !labels.metricName.isEmpty else {
            return nil
        }
        return labels
    }

    private func checkLimits(_ labels: Labels) throws(ScrapeFailure) {
        let limits = config.limits
        let name = labels.metricName
        if limits.labels > 0, labels.count > limits.labels {
            throw ScrapeFailure(
                description:
                    "label_limit exceeded (metric: \(name), number of labels: \(labels.count), limit: \(limits.labels))"
            )
        }
        if limits.labelNameLength == 0 && limits.labelValueLength == 0 { return }
        for (label, value) in labels.pairs {
            if limits.labelNameLength > 0, label.utf8.count > limits.labelNameLength {
                throw ScrapeFailure(
                    description: "label_name_length_limit exceeded (metric: \(name), label name: \(label), "
                        + "length: \(label.utf8.count), limit: \(limits.labelNameLength))")
            }
            if limits.labelValueLength > 0, value.utf8.count > limits.labelValueLength {
                throw ScrapeFailure(
                    description: "label_value_length_limit exceeded (metric: \(name), label name: \(label), "
                        + "value: \"\(value.prefix(50))\", length: \(value.utf8.count), limit: \(limits.labelValueLength))"
                )
            }
        }
    }

    /// Hands the batch to the store; series that the store has dropped meanwhile are resolved and appended again.
    private mutating func store(
        _ appender: any SampleAppender, _ counts: inout ScrapeCounts, _ scratch: ScrapeScratch
    ) throws {
        let batch = scratch.batch
        if batch.count == 0 { return }
        let outcome = try appender.append(batch)
        counts.outcome.add(outcome)
        if outcome.unknownRefs.isEmpty { return }
        var again = SampleBatch()
        for position in outcome.unknownRefs where !batch.values[position].isStaleMarker {
            let index = Int(scratch.places[position])
            let labels = try cache.seriesText(index).withUnsafeBytes { try storedLabels($0, 0) }
            guard let labels else { continue }
            let ref = try appender.resolve([labels])[0]
            cache.setRef(index, ref)
            again.append(ref: ref, timestamp: batch.timestamps[position], value: batch.values[position])
        }
        if again.count > 0 { counts.outcome.add(try appender.append(again)) }
    }

    private func string(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> String {
        String(decoding: UnsafeRawBufferPointer(rebasing: bytes[range]), as: UTF8.self)
    }
}

private func unescapedHelp(_ text: String) -> String {
    guard text.contains("\\") else { return text }
    var out = ""
    var escaped = false
    for character in text {
        if escaped {
            out += character == "n" ? "\n" : character == "\\" || character == "\"" ? "\(character)" : "\\\(character)"
            escaped = false
        } else if character == "\\" {
            escaped = true
        } else {
            out.append(character)
        }
    }
    return escaped ? out + "\\" : out
}

extension Labels {
    fileprivate func forEachString(_ body: (String, String) -> Void) {
        for (name, value) in pairs { body(name, value) }
    }
}

extension AppendOutcome {
    mutating func add(_ other: AppendOutcome) {
        appended += other.appended
        outOfOrder += other.outOfOrder
        duplicate += other.duplicate
        tooOld += other.tooOld
        tooNew += other.tooNew
    }
}
