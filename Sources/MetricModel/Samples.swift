/// The bit pattern of a staleness marker: Prometheus' NaN that says that a series ended here.
@inlinable @inline(__always)
package var staleMarkerBits: UInt64 { 0x7ff0_0000_0000_0002 }

/// The NaN that arithmetic yields in Prometheus.
@inlinable @inline(__always)
package var normalNaNBits: UInt64 { 0x7ff8_0000_0000_0001 }

extension Double {
    @inlinable @inline(__always)
    package static var staleMarker: Double { Double(bitPattern: staleMarkerBits) }

    @inlinable @inline(__always)
    package var isStaleMarker: Bool { bitPattern == staleMarkerBits }
}

/// One series' samples, by column.
///
/// Timestamps are milliseconds since 1970 UTC, strictly ascending. `values[i]` belongs to `timestamps[i]`; stale markers
/// are among them. `histograms` is nil for a series of floats only; otherwise it is as long as `timestamps`, and where an
/// element is not nil the sample is that histogram and its value means nothing.
package struct SeriesData: Sendable {
    package var labels: Labels
    package var timestamps: [Int64]
    package var values: [Double]
    package var histograms: [NativeHistogram?]?

    package init(labels: Labels, timestamps: [Int64], values: [Double], histograms: [NativeHistogram?]? = nil) {
        self.labels = labels
        self.timestamps = timestamps
        self.values = values
        self.histograms = histograms
    }
}

/// A series' handle in a store: valid until the store says otherwise in an `AppendOutcome`; never used again for another.
package typealias SeriesRef = UInt64

/// Samples for a store, by column; element i of each array is sample i. One batch is one scrape, one rule group's
/// results or one remote-write request. Owned by one thread at a time and meant to be reused.
package struct SampleBatch: Sendable {
    package var refs: [SeriesRef] = []
    package var timestamps: [Int64] = []
    package var values: [Double] = []
    /// Histogram samples, by index into the columns; ascending.
    package var histograms: [(index: Int, histogram: NativeHistogram)] = []

    package init() {}

    package var count: Int { refs.count }

    @inline(__always)
    package mutating func append(ref: SeriesRef, timestamp: Int64, value: Double) {
        refs.append(ref)
        timestamps.append(timestamp)
        values.append(value)
    }

    package mutating func removeAll() {
        refs.removeAll(keepingCapacity: true)
        timestamps.removeAll(keepingCapacity: true)
        values.removeAll(keepingCapacity: true)
        histograms.removeAll(keepingCapacity: true)
    }
}

/// What became of a batch's samples. Counts are of samples.
package struct AppendOutcome: Sendable, Equatable {
    package var appended = 0
    /// Older than the newest of their series and outside the out-of-order window.
    package var outOfOrder = 0
    /// Same timestamp as a stored sample with another value.
    package var duplicate = 0
    /// Older than anything the store takes.
    package var tooOld = 0
    /// Too far in the future for the store.
    package var tooNew = 0
    /// Indices into the batch whose ref the store has dropped (the series had been idle): resolve again and append again.
    package var unknownRefs: [Int] = []

    package init() {}
}

/// Where samples go. Thread-safe.
package protocol SampleAppender: Sendable {
    /// The handles of these series, made where new. Throws when the store refuses new series (its limit, or closed).
    func resolve(_ series: [Labels]) throws -> [SeriesRef]
    /// Takes the batch whole into memory; durable after the store's next commit (about a second).
    func append(_ batch: SampleBatch) throws -> AppendOutcome
}

/// Type, help and unit of a metric family.
package struct MetricMetadata: Sendable, Hashable {
    /// counter, gauge, histogram, gaugehistogram, summary, info, stateset or unknown.
    package var type: String
    package var help: String
    package var unit: String

    package init(type: String, help: String = "", unit: String = "") {
        self.type = type
        self.help = help
        self.unit = unit
    }
}
