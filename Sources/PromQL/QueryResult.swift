package import MetricModel

/// One element of an instant vector.
package struct VectorSample: Sendable {
    package var labels: Labels
    /// Milliseconds since 1970 UTC.
    package var timestamp: Int64
    package var value: Double
    /// Where not nil, the sample is this histogram and `value` means nothing.
    package var histogram: NativeHistogram?

    package init(labels: Labels, timestamp: Int64, value: Double, histogram: NativeHistogram? = nil) {
        self.labels = labels
        self.timestamp = timestamp
        self.value = value
        self.histogram = histogram
    }
}

/// What a query yields.
package enum QueryValue: Sendable {
    case scalar(timestamp: Int64, value: Double)
    case string(timestamp: Int64, value: String)
    /// In the order the query asked for (`sort`, `topk`), else in no particular one.
    case vector([VectorSample])
    /// Sorted by labels; each series by column.
    case matrix([SeriesData])
}

/// Samples that a query touched, as the API's `stats` parameter reports them.
package struct QueryStats: Sendable {
    /// Samples read from the source, each counted once for every step that looked at it.
    package var totalQueryableSamples = 0
    /// Most samples held at once.
    package var peakSamples = 0
    /// Total by step: milliseconds since 1970 UTC and count. Only with `perStepStats`.
    package var perStep: [(timestamp: Int64, samples: Int)] = []

    package init() {}
}

package struct QueryResult: Sendable {
    package var value: QueryValue
    /// With Prometheus' texts and places: `PromQL warning: … (1:7)`.
    package var warnings: [String]
    package var infos: [String]
    package var stats: QueryStats
}

/// Why a query has no answer.
package struct QueryError: Error, Sendable, CustomStringConvertible {
    /// Prometheus' error types, as the API names them.
    package enum Kind: String, Sendable {
        case badData = "bad_data"
        case execution
        case timeout
        case canceled
        case internalError = "internal"
    }

    package let kind: Kind
    package let message: String

    package init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    package var description: String { message }
}
