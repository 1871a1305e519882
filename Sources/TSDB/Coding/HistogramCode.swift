import MetricModel

/// A native histogram as bytes: hint, schema, thresholds and counts, then spans and buckets by side.
///
/// Layout: a byte of hint, the schema (zigzag), zero threshold, zero count, count and sum (words); for positive and then
/// negative: the number of spans with offset (zigzag) and length (varint) each, the number of buckets with a word each; at
/// last the number of custom values with a word each.
enum HistogramCode {
    static func encode(_ histogram: NativeHistogram, into out: inout [UInt8]) {
        out.append(histogram.counterResetHint.rawValue)
        out.appendZigzag(Int64(histogram.schema))
        for value in [histogram.zeroThreshold, histogram.zeroCount, histogram.count, histogram.sum] {
            out.appendWord(value.bitPattern)
        }
        side(histogram.positiveSpans, histogram.positiveBuckets, &out)
        side(histogram.negativeSpans, histogram.negativeBuckets, &out)
        words(histogram.customValues, &out)
    }

    private static func side(_ spans: [NativeHistogram.Span], _ buckets: [Double], _ out: inout [UInt8]) {
        out.appendVarint(UInt64(spans.count))
        for span in spans {
            out.appendZigzag(Int64(span.offset))
            out.appendVarint(UInt64(span.length))
        }
        words(buckets, &out)
    }

    private static func words(_ values: [Double], _ out: inout [UInt8]) {
        out.appendVarint(UInt64(values.count))
        for value in values { out.appendWord(value.bitPattern) }
    }

    /// Sets the reader's `failed` where the bytes are no histogram.
    static func decode(_ reader: inout ByteReader) -> NativeHistogram {
        var histogram = NativeHistogram()
        histogram.counterResetHint = NativeHistogram.CounterResetHint(rawValue: reader.byte()) ?? .unknown
        histogram.schema = Int32(truncatingIfNeeded: reader.zigzag())
        histogram.zeroThreshold = Double(bitPattern: reader.word())
        histogram.zeroCount = Double(bitPattern: reader.word())
        histogram.count = Double(bitPattern: reader.word())
        histogram.sum = Double(bitPattern: reader.word())
        (histogram.positiveSpans, histogram.positiveBuckets) = decodeSide(&reader)
        (histogram.negativeSpans, histogram.negativeBuckets) = decodeSide(&reader)
        histogram.customValues = decodeWords(&reader)
        return histogram
    }

    private static func decodeSide(_ reader: inout ByteReader) -> ([NativeHistogram.Span], [Double]) {
        var spans: [NativeHistogram.Span] = []
        for _ in 0..<reader.count() {
            let offset = Int32(truncatingIfNeeded: reader.zigzag())
            spans.append(NativeHistogram.Span(offset: offset, length: UInt32(truncatingIfNeeded: reader.varint())))
        }
        return (spans, decodeWords(&reader))
    }

    private static func decodeWords(_ reader: inout ByteReader) -> [Double] {
        (0..<reader.count()).map { _ in Double(bitPattern: reader.word()) }
    }
}
