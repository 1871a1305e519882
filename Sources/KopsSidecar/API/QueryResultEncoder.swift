import MetricModel
import Platform
import PromQL

/// Moments of a query, in nanoseconds of the monotonic clock.
struct QueryTimings: Sendable {
    var started: Int64
    var parsed: Int64
    var began: Int64
    var ended: Int64
}

/// Writes a query's result as Prometheus' API does: whole where it is small, in pieces of about a mebibyte where not.
struct QueryResultEncoder: Sendable {
    let value: QueryValue
    let warnings: [String]
    let infos: [String]
    let stats: (stats: QueryStats, timings: QueryTimings, all: Bool)?
    /// Writes a large answer's series side by side; nil: one after the other.
    var parallel: QueryControl.Parallel?

    func reply() -> APIReply {
        guard case .matrix(let series) = value, series.count > 1,
            series.reduce(0, { $0 + $1.timestamps.count }) > 50_000
        else {
            return .success(warnings: warnings, infos: infos) { writer in
                writer.beginObject()
                head(&writer)
                switch value {
                case .vector(let samples): writer.array(samples, Self.write)
                case .matrix(let series): writer.array(series, Self.write)
                case .scalar(let timestamp, let value):
                    // Unlike a sample, never with an exponent.
                    writer.beginArray()
                    writer.timestamp(timestamp)
                    writer.string(formatFloat(value))
                    writer.endArray()
                case .string(let timestamp, let text):
                    writer.beginArray()
                    writer.timestamp(timestamp)
                    writer.string(text)
                    writer.endArray()
                }
                tail(&writer)
            }
        }
        var reply = APIReply(200, "application/json", [])
        let pieces = Lock(MatrixPieces(encoder: self, series: series))
        reply.body = .pieces { pieces.withLock { $0.next() } }
        return reply
    }

    fileprivate func head(_ writer: inout JSONWriter) {
        writer.key("resultType")
        switch value {
        case .vector: writer.string("vector")
        case .matrix: writer.string("matrix")
        case .scalar: writer.string("scalar")
        case .string: writer.string("string")
        }
        writer.key("result")
    }

    fileprivate func tail(_ writer: inout JSONWriter) {
        if let stats {
            writer.key("stats")
            writer.object { Self.write(&$0, stats.stats, stats.timings, all: stats.all) }
        }
        writer.endObject()
    }

    /// The timings and samples of a query, as keys of the object that is open.
    static func write(_ writer: inout JSONWriter, _ stats: QueryStats, _ timings: QueryTimings, all: Bool) {
        func seconds(_ from: Int64, _ to: Int64) -> Double { Double(max(0, to - from)) / 1e9 }
        let times: [(String, Double)] = [
            ("evalTotalTime", seconds(timings.began, timings.ended)), ("resultSortTime", 0),
            ("queryPreparationTime", seconds(timings.started, timings.parsed)),
            ("innerEvalTime", seconds(timings.began, timings.ended)),
            ("execQueueTime", seconds(timings.parsed, timings.began)),
            ("execTotalTime", seconds(timings.parsed, timings.ended)),
        ]
        writer.key("timings")
        writer.object { writer in
            for (name, value) in times {
                writer.key(name)
                writer.double(value)
            }
        }
        writer.key("samples")
        writer.object { writer in
            if all, !stats.perStep.isEmpty {
                writer.key("totalQueryableSamplesPerStep")
                writer.array(stats.perStep) { writer, step in
                    writer.beginArray()
                    writer.timestamp(step.timestamp)
                    writer.int(step.samples)
                    writer.endArray()
                }
            }
            writer.key("totalQueryableSamples")
            writer.int(stats.totalQueryableSamples)
            writer.key("peakSamples")
            writer.int(stats.peakSamples)
        }
    }

    private static func write(_ writer: inout JSONWriter, _ sample: VectorSample) {
        writer.beginObject()
        writer.key("metric")
        writer.labels(sample.labels)
        writer.key(sample.histogram == nil ? "value" : "histogram")
        writer.beginArray()
        writer.timestamp(sample.timestamp)
        if let histogram = sample.histogram {
            writer.histogram(histogram)
        } else {
            writer.sampleValue(sample.value)
        }
        writer.endArray()
        writer.endObject()
    }

    fileprivate static func write(_ writer: inout JSONWriter, _ series: SeriesData) {
        writer.beginObject()
        writer.key("metric")
        writer.labels(series.labels)
        let histograms = series.histograms
        if histograms?.contains(where: { $0 == nil }) ?? true {
            writer.key("values")
            writer.samples(
                series.timestamps, series.values, isLeftOut: histograms.map { histograms in { histograms[$0] != nil } })
        }
        if let histograms, histograms.contains(where: { $0 != nil }) {
            writer.key("histograms")
            writer.beginArray()
            for (index, histogram) in histograms.enumerated() {
                guard let histogram else { continue }
                writer.beginArray()
                writer.timestamp(series.timestamps[index])
                writer.histogram(histogram)
                writer.endArray()
            }
            writer.endArray()
        }
        writer.endObject()
    }
}

/// A matrix' answer cut at series into pieces.
private struct MatrixPieces: Sendable {
    let encoder: QueryResultEncoder
    let series: [SeriesData]
    var position = 0
    var writer: JSONWriter?
    var done = false

    mutating func next() -> [UInt8]? {
        if done { return nil }
        var writer = self.writer ?? begun()
        let parts = nextParts()
        if let parallel = encoder.parallel, parts.count > 1 {
            let texts = Lock([[UInt8]](repeating: [], count: parts.count))
            let isFirst = position == 0
            parallel(parts.count) { [series] part in
                var own = JSONWriter(behindElement: !isFirst || part > 0)
                for one in series[parts[part]] { QueryResultEncoder.write(&own, one) }
                let text = own.bytes
                texts.withLock { $0[part] = text }
            }
            for text in texts.withLock({ $0 }) { writer.elements(text) }
        } else {
            for part in parts { for one in series[part] { QueryResultEncoder.write(&writer, one) } }
        }
        position = parts.last?.upperBound ?? position
        if position == series.count {
            writer.endArray()
            encoder.tail(&writer)
            if !encoder.warnings.isEmpty {
                writer.key("warnings")
                writer.strings(encoder.warnings)
            }
            if !encoder.infos.isEmpty {
                writer.key("infos")
                writer.strings(encoder.infos)
            }
            writer.endObject()
            done = true
        }
        let piece = writer.bytes
        writer.bytes.removeAll(keepingCapacity: true)
        self.writer = writer
        return piece
    }

    /// The series of the next mebibyte or so, at least one, in up to four parts of about the same length.
    private func nextParts() -> [Range<Int>] {
        func length(_ index: Int) -> Int { series[index].timestamps.count * 32 + 100 }
        var end = position
        var total = 0
        while end < series.count, total < 1 << 20 {
            total += length(end)
            end += 1
        }
        var parts: [Range<Int>] = []
        var start = position
        var sum = 0
        for index in position..<end {
            sum += length(index)
            if sum * 4 >= total * (parts.count + 1) || index == end - 1 {
                parts.append(start..<index + 1)
                start = index + 1
            }
        }
        return parts
    }

    private func begun() -> JSONWriter {
        var writer = JSONWriter()
        writer.beginObject()
        writer.key("status")
        writer.string("success")
        writer.key("data")
        writer.beginObject()
        encoder.head(&writer)
        writer.beginArray()
        return writer
    }
}
