package import MetricModel
import Platform

/// Answers to remote read. Histogram samples are left out: the messages here carry floats.
package enum ReadResponse {
    /// `prometheus.ReadResponse`, in a snappy block: for each query its series with all samples.
    package static func samples(_ results: [[SeriesData]]) -> [UInt8] {
        var response = MessageWriter()
        var result = MessageWriter()
        var one = MessageWriter()
        for series in results {
            result.bytes.removeAll(keepingCapacity: true)
            for data in series {
                one.bytes.removeAll(keepingCapacity: true)
                one.labels(1, data.labels)
                for i in data.timestamps.indices where data.histograms?[i] == nil {
                    one.sample(2, data.timestamps[i], data.values[i])
                }
                result.field(1, one.bytes)
            }
            response.field(1, result.bytes)
        }
        return Snappy.packed(response.bytes)
    }

    /// One frame of the stream: a series' chunks in a `prometheus.ChunkedReadResponse`, with its length and checksum
    /// (CRC-32C) before it.
    package static func frame(_ data: SeriesData, query: Int) -> [UInt8] {
        var series = MessageWriter()
        series.labels(1, data.labels)
        var start = 0
        var chunk = MessageWriter()
        let floats = data.timestamps.indices.filter { data.histograms?[$0] == nil }
        while start < floats.count {
            let part = floats[start..<min(start + 120, floats.count)]
            start += part.count
            chunk.bytes.removeAll(keepingCapacity: true)
            chunk.varint(1, UInt64(bitPattern: data.timestamps[part[part.startIndex]]))
            chunk.varint(2, UInt64(bitPattern: data.timestamps[part[part.endIndex - 1]]))
            chunk.varint(3, 1)
            var encoder = XORChunk()
            for i in part { encoder.append(data.timestamps[i], data.values[i]) }
            chunk.field(4, encoder.finish())
            series.field(2, chunk.bytes)
        }
        var message = MessageWriter()
        message.field(1, series.bytes)
        if query > 0 { message.varint(2, UInt64(query)) }
        var frame = MessageWriter()
        frame.varint(UInt64(message.bytes.count))
        let sum = message.bytes.withUnsafeBytes { CRC32C.update(0, $0) }
        withUnsafeBytes(of: sum.bigEndian) { frame.bytes.append(contentsOf: $0) }
        frame.bytes += message.bytes
        return frame.bytes
    }
}
