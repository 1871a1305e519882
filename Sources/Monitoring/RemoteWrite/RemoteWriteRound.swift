import MetricModel

/// What is sent at once: samples by series, ready to be cut into requests.
struct RemoteWriteRound: Sendable {
    /// The encoded label fields of each series.
    var prefixes: [[UInt8]] = []
    /// Column of the samples, each with its series' index, in the order in which they were committed.
    var series: [Int] = []
    var timestamps: [Int64] = []
    var values: [Double] = []

    var count: Int { series.count }
    var newest: Int64 { timestamps.max() ?? .min }

    /// Requests for each of `shards` parallel senders, by series, so that the samples of one stay in order. Each has at most
    /// `limit` samples.
    func shards(_ shards: Int, limit: Int) -> [[WriteBatch]] {
        var out = [[WriteBatch]](repeating: [], count: shards)
        for i in series.indices {
            let shard = series[i] % shards
            if out[shard].last.map({ $0.samples.count >= limit }) ?? true { out[shard].append(WriteBatch()) }
            out[shard][out[shard].count - 1].samples.append(i)
        }
        return out
    }

    /// `prometheus.WriteRequest` for samples of the round.
    func message(_ batch: WriteBatch) -> [UInt8] {
        // Each series once, with its samples in order.
        var order: [Int] = []
        var members: [Int: [Int]] = [:]
        for i in batch.samples {
            if members[series[i]]?.append(i) == nil {
                members[series[i]] = [i]
                order.append(series[i])
            }
        }
        var out = MessageWriter()
        out.bytes.reserveCapacity(batch.samples.count * 24 + order.count * 200)
        var one = MessageWriter()
        for index in order {
            one.bytes.removeAll(keepingCapacity: true)
            one.bytes += prefixes[index]
            for i in members[index] ?? [] { one.sample(2, timestamps[i], values[i]) }
            out.field(1, one.bytes)
        }
        return out.bytes
    }
}

/// Samples of a round that go in one request, by index.
struct WriteBatch: Sendable {
    var samples: [Int] = []

    /// Two halves in order.
    var halves: (WriteBatch, WriteBatch) {
        let middle = samples.count / 2
        return (WriteBatch(samples: Array(samples[..<middle])), WriteBatch(samples: Array(samples[middle...])))
    }
}

/// Names of series in the log as they are sent: with external labels, relabelled; nil where relabelling drops them.
struct RemoteSeriesTable {
    private var places: [UInt64: Int?] = [:]
    private(set) var prefixes: [[UInt8]] = []
    private let external: [(name: String, value: String)]
    private let steps: [RelabelConfig]

    init(external: Labels, steps: [RelabelConfig]) {
        self.external = external.pairs
        self.steps = steps
    }

    mutating func define(_ id: UInt64, _ labels: Labels) {
        var sent = labels
        if !external.isEmpty {
            var builder = LabelsBuilder(labels)
            for (name, value) in external where builder[name] == nil { builder.set(name, value) }
            sent = builder.labels()
        }
        guard let kept = relabel(sent, with: steps), !kept.isEmpty else {
            places[id] = .some(nil)
            return
        }
        var writer = MessageWriter()
        writer.labels(1, kept)
        places[id] = prefixes.count
        prefixes.append(writer.bytes)
    }

    mutating func removeAll() {
        places.removeAll(keepingCapacity: true)
        prefixes.removeAll(keepingCapacity: true)
    }

    /// The series' place among `prefixes`; nil where it is not sent.
    func place(_ id: UInt64) -> Int? { places[id] ?? nil }
}
