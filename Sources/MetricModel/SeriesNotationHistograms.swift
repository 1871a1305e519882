/// Histograms in series notation: `{{schema:1 sum:3 count:22 buckets:[5 10 7]}}`, with `+{{…}}x5` after it a sequence.
extension SeriesScanner {
    mutating func histogramItem(_ out: inout [SequenceValue]) throws(SeriesNotationError) {
        let first = try histogram()
        if byte == UInt8(ascii: "x") {
            for _ in 0...(try count()) { out.append(first) }
            return
        }
        guard byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") else {
            out.append(first)
            return
        }
        let adds = byte == UInt8(ascii: "+")
        at += 1
        let increment = try histogram()
        guard byte == UInt8(ascii: "x") else { throw fail("expected a repetition after a histogram's increment") }
        let times = try count()
        guard var current = first.histogram, let step = increment.histogram else { return }
        out.append(first)
        for _ in 0..<times {
            if current.schema > step.schema {
                throw fail("error combining histograms: cannot merge from schema \(step.schema) to \(current.schema)")
            }
            do {
                if adds { try current.add(step) } else { try current.subtract(step) }
            } catch {
                throw fail("error combining histograms: exponential and custom buckets do not go together")
            }
            out.append(SequenceValue(value: 0, histogram: current, hintIsSet: first.hintIsSet))
        }
    }

    private mutating func count() throws(SeriesNotationError) -> Int {
        at += 1
        let start = at
        while byte >= 48, byte <= 57 { at += 1 }
        guard let count = Int(String(decoding: bytes[start..<at], as: UTF8.self)), count <= 1_000_000 else {
            throw fail("invalid repetition in series values")
        }
        return count
    }

    mutating func histogram() throws(SeriesNotationError) -> SequenceValue {
        guard take("{"), take("{") else { throw fail("expected \"{{\"") }
        var out = NativeHistogram()
        var hintIsSet = false
        var offset = 0
        var negativeOffset = 0
        var buckets: [Double] = []
        var negativeBuckets: [Double] = []
        var seen: Set<String> = []
        while true {
            skipSpaces()
            if take("}") {
                guard take("}") else { throw fail("expected \"}}\"") }
                break
            }
            let start = at
            while byte >= 97 && byte <= 122 || byte == 95 { at += 1 }
            let key = String(decoding: bytes[start..<at], as: UTF8.self)
            guard take(":") else { throw fail("missing `:` for histogram descriptor") }
            guard seen.insert(key).inserted else { throw fail("duplicate key \"\(key)\" in histogram") }
            switch key {
            case "schema": out.schema = Int32(try integer())
            case "sum": out.sum = try number(signed: true)
            case "count": out.count = try number(signed: true)
            case "z_bucket": out.zeroCount = try number(signed: true)
            case "z_bucket_w": out.zeroThreshold = try number(signed: true)
            case "offset": offset = try integer()
            case "n_offset": negativeOffset = try integer()
            case "buckets": buckets = try numbers()
            case "n_buckets": negativeBuckets = try numbers()
            case "custom_values": out.customValues = try numbers()
            case "counter_reset_hint":
                hintIsSet = true
                switch word() {
                case "unknown": out.counterResetHint = .unknown
                case "reset": out.counterResetHint = .reset
                case "not_reset": out.counterResetHint = .notReset
                case "gauge": out.counterResetHint = .gauge
                default: throw fail("error parsing counter_reset_hint: unknown value")
                }
            default: throw fail("bad histogram descriptor found: \(quoteGo(key))")
            }
        }
        func rows(_ counts: [Double], _ offset: Int) -> [BucketRow] {
            counts.enumerated().map { BucketRow(index: offset + $0.offset, count: $0.element) }
        }
        out.setRows(rows(buckets, offset), positive: true)
        out.setRows(rows(negativeBuckets, negativeOffset), positive: false)
        return SequenceValue(value: 0, histogram: out, hintIsSet: hintIsSet)
    }

    private mutating func integer() throws(SeriesNotationError) -> Int {
        let value = try number(signed: true)
        guard value == value.rounded(), abs(value) < 1_000_000 else { throw fail("expected a whole number") }
        return Int(value)
    }

    private mutating func numbers() throws(SeriesNotationError) -> [Double] {
        guard take("[") else { throw fail("expected \"[\"") }
        var out: [Double] = []
        skipSpaces()
        while !take("]") {
            out.append(try number(signed: true))
            skipSpaces()
        }
        return out
    }
}
