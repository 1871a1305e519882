import MetricModel
import Testing

private func random(schema: Int32 = Int32.random(in: -2...4)) -> NativeHistogram {
    var out = NativeHistogram()
    out.schema = schema
    out.zeroThreshold = [0, 0.001, 0.5].randomElement() ?? 0
    out.zeroCount = Double(Int.random(in: 0...5))
    for positive in [true, false] {
        var rows: [BucketRow] = []
        var index = Int.random(in: 3...6) << max(0, Int(schema))
        for _ in 0..<Int.random(in: 0...6) {
            rows.append(BucketRow(index: index, count: Double(Int.random(in: 0...9))))
            index += Int.random(in: 1...4)
        }
        out.setRows(rows, positive: positive)
    }
    out.count = out.zeroCount + out.positiveBuckets.reduce(0, +) + out.negativeBuckets.reduce(0, +)
    out.sum = Double(Int.random(in: -100...100))
    return out
}

private func total(_ h: NativeHistogram) -> Double {
    h.zeroCount + h.positiveBuckets.reduce(0, +) + h.negativeBuckets.reduce(0, +)
}

@Suite struct HistogramTests {
    @Test func rowsAndSpansSayTheSame() {
        for _ in 0..<300 {
            let h = random()
            var other = h
            for positive in [true, false] { other.setRows(h.rows(positive: positive), positive: positive) }
            #expect(other == h)
        }
    }

    @Test func addingKeepsObservationsAndUndoes() throws {
        for _ in 0..<300 {
            let a = random()
            let b = random()
            var sum = a
            try sum.add(b)
            #expect(total(sum) == total(a) + total(b))
            #expect(sum.count == a.count + b.count && sum.sum == a.sum + b.sum)
            #expect(sum.schema == min(a.schema, b.schema))
            var other = b
            try other.add(a)
            #expect(sum.equals(other))
            var difference = sum
            try difference.subtract(b)
            #expect(total(difference) == total(a))
            #expect(difference.positiveBuckets.allSatisfy { $0 >= 0 })
        }
    }

    @Test func reducingKeepsObservations() {
        for _ in 0..<300 {
            let h = random(schema: 4)
            var coarse = h
            coarse.reduce(to: 0)
            #expect(total(coarse) == total(h))
            var twice = h
            twice.reduce(to: 2)
            twice.reduce(to: 0)
            #expect(coarse.equals(twice))
        }
    }

    @Test func growingIsNoResetAndShrinkingIs() throws {
        for _ in 0..<300 {
            let a = random()
            var b = a
            try b.add(random(schema: a.schema))
            #expect(!b.isReset(after: a))
            if total(b) > total(a) { #expect(a.isReset(after: b)) }
            #expect(!a.isReset(after: a))
        }
    }

    @Test func trimmingSplitsWithoutLoss() {
        for _ in 0..<300 {
            let h = random()
            let limit = Double.random(in: -40...40)
            var below = h
            below.trim(at: limit, upper: true)
            var above = h
            above.trim(at: limit, upper: false)
            #expect(abs(total(below) + total(above) - total(h)) < 1e-6)
        }
    }

    @Test func compensatedSumsAreExact() throws {
        var big = NativeHistogram()
        big.sum = 1e100
        big.count = 1
        big.setRows([BucketRow(index: 1, count: 1e100)], positive: true)
        var small = big
        small.sum = 1
        small.setRows([BucketRow(index: 1, count: 1)], positive: true)
        var negative = big
        negative.scale(by: -1)
        var sum = NativeHistogramSum(small)
        _ = try sum.add(big)
        _ = try sum.add(small)
        _ = try sum.add(negative)
        #expect(sum.total.sum == 2 && sum.total.positiveBuckets == [2])
    }

    @Test func bounds() {
        #expect(NativeHistogram.exponentialBound(0, schema: 0) == 1)
        #expect(NativeHistogram.exponentialBound(1, schema: 1) == 1.4142135623730951)
        #expect(NativeHistogram.exponentialBound(3, schema: -1) == 64)
        #expect(NativeHistogram.exponentialBound(1024, schema: 0) == .greatestFiniteMagnitude)
        #expect(NativeHistogram.exponentialBound(1025, schema: 0) == .infinity)
        #expect(NativeHistogram.exponentialBound(.max, schema: -4) == .infinity)
        #expect(NativeHistogram.exponentialBound(.min, schema: 8) == 0)
    }

    @Test func text() throws {
        let h = try #require(
            try parseSequence("{{sum:10 count:20 z_bucket_w:0.001 z_bucket:2 buckets:[1 2] n_buckets:[1 2]}}")[0]
                .histogram)
        #expect(h.description == "{count:20, sum:10, [-2,-1):2, [-1,-0.5):1, [-0.001,0.001]:2, (0.5,1]:1, (1,2]:2}")
    }
}
