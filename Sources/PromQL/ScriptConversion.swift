import MetricModel

/// `load_with_nhcb`: classic histograms among the loaded series, as native ones with custom buckets.
struct CustomBucketConversion {
    private(set) var series: [(Labels, [(Int, NativeHistogram)])] = []

    private struct Parts {
        var buckets: [(upper: Double, values: [SequenceValue])] = []
        var sum: [SequenceValue]?
        var count: [SequenceValue]?
    }

    init(_ order: [Labels], _ definitions: [Labels: [SequenceValue]]) {
        var parts: [Labels: Parts] = [:]
        var found: [Labels] = []
        for labels in order {
            guard let values = definitions[labels] else { continue }
            let name = labels.metricName
            func base(_ suffix: String) -> Labels {
                var builder = LabelsBuilder(labels)
                builder.set(Labels.metricNameLabel, String(name.dropLast(suffix.count)))
                builder.remove("le")
                return builder.labels()
            }
            if name.hasSuffix("_bucket"), let le = labels["le"], let upper = parseFloat(le) {
                let key = base("_bucket")
                if parts[key] == nil { found.append(key) }
                parts[key, default: Parts()].buckets.append((upper, values))
            } else if name.hasSuffix("_count") {
                parts[base("_count"), default: Parts()].count = values
                if !found.contains(base("_count")) { found.append(base("_count")) }
            } else if name.hasSuffix("_sum") {
                parts[base("_sum"), default: Parts()].sum = values
                if !found.contains(base("_sum")) { found.append(base("_sum")) }
            }
        }
        for key in found {
            guard var part = parts[key], !part.buckets.isEmpty else { continue }
            part.buckets.sort { $0.upper < $1.upper }
            let steps = part.buckets.map(\.values.count).max() ?? 0
            var samples: [(Int, NativeHistogram)] = []
            for i in 0..<steps {
                if let histogram = Self.histogram(part, i) { samples.append((i, histogram)) }
            }
            series.append((key, samples))
        }
    }

    private static func histogram(_ part: Parts, _ i: Int) -> NativeHistogram? {
        func value(_ values: [SequenceValue]?) -> Double? {
            guard let values, i < values.count, !values[i].omitted, values[i].histogram == nil else { return nil }
            return values[i].value
        }
        var bounds: [Double] = []
        var rows: [BucketRow] = []
        var below = 0.0
        var any = false
        for bucket in part.buckets {
            guard let cumulative = value(bucket.values) else { continue }
            any = true
            let index = bounds.count
            if bucket.upper != .infinity { bounds.append(bucket.upper) }
            rows.append(BucketRow(index: index, count: cumulative - below))
            below = cumulative
        }
        guard any else { return nil }
        var out = NativeHistogram()
        out.schema = customBucketsSchema
        out.customValues = bounds
        out.count = value(part.count) ?? below
        out.sum = value(part.sum) ?? 0
        if let last = rows.last, last.index < bounds.count {
            rows.append(BucketRow(index: bounds.count, count: out.count - below))
        }
        out.setRows(rows, positive: true)
        out.compact()
        return out
    }
}
