/// A histogram sample with float counts: buckets of exponential width (schema −4…8) or of custom bounds (schema −53), as
/// Prometheus' `FloatHistogram`. Integer histograms are converted when they are read.
package struct NativeHistogram: Sendable, Equatable {
    /// A run of consecutive buckets: `offset` buckets after the last span's end (or after index 0), `length` buckets.
    package struct Span: Sendable, Equatable {
        package var offset: Int32
        package var length: UInt32
        package init(offset: Int32, length: UInt32) {
            self.offset = offset
            self.length = length
        }
    }

    package enum CounterResetHint: UInt8, Sendable { case unknown, reset, notReset, gauge }

    package var counterResetHint = CounterResetHint.unknown
    package var schema: Int32 = 0
    package var zeroThreshold: Double = 0
    package var zeroCount: Double = 0
    package var count: Double = 0
    package var sum: Double = 0
    package var positiveSpans: [Span] = []
    package var negativeSpans: [Span] = []
    /// Absolute counts, one for each bucket that the spans cover.
    package var positiveBuckets: [Double] = []
    package var negativeBuckets: [Double] = []
    /// Upper bounds with schema −53, ascending, +Inf left out.
    package var customValues: [Double] = []

    package init() {}
}
