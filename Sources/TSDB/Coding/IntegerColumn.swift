/// A column of integers, coded as first value and differences of first or second order. The differences go into blocks of 64
/// of one bit width each, with or without the block's least one taken off or its zeros marked apart, or into varints with
/// runs of zeros; whichever is shortest is kept.
///
/// Layout: one byte `order << 1 | form` (form 0 blocks, 1 varints), `8 | order` (blocks above a reference) or `16 | order`
/// (sparse blocks), the first value
/// (and with order 2 the first difference) as zigzag varints, then the rest. Blocks: a byte of width, then the block's values
/// in that many bits each, to the next whole byte; zigzag values, or what they are above the block's reference, which
/// stands before the width as a zigzag varint. Sparse blocks: the width, a bit for each value that is not zero, to the next
/// whole byte, and those values as zigzag values. Varints: zigzag, where zero is followed by the run's length minus one.
enum IntegerColumn {
    private enum Form {
        case blocks, varints, referenced, sparse
    }

    static func encode(_ values: [Int64], into out: inout [UInt8]) {
        guard let first = values.first else { return }
        let (single, singleForm, singleSize) = best(differences(values))
        var head: [UInt8] = []
        head.appendZigzag(first)
        guard values.count >= 3 else { return write(1, singleForm, head, single, &out) }
        let (double, doubleForm, doubleSize) = best(differences(single))
        if singleSize <= doubleSize + zigzagLength(single[0]) {
            write(1, singleForm, head, single, &out)
        } else {
            head.appendZigzag(single[0])
            write(2, doubleForm, head, double, &out)
        }
    }

    private static func differences(_ values: [Int64]) -> [Int64] {
        [Int64](unsafeUninitializedCapacity: max(0, values.count - 1)) { out, count in
            count = max(0, values.count - 1)
            for i in 0..<count { out[i] = values[i + 1] &- values[i] }
        }
    }

    /// The form that takes least room for the differences, and how many bytes it takes.
    private static func best(_ differences: [Int64]) -> ([Int64], Form, Int) {
        var (blocks, referenced, sparse, varints) = (0, 0, 0, 0)
        var start = 0
        while start < differences.count {
            let end = min(start + 64, differences.count)
            var (all, least, most, zeros): (UInt64, Int64, Int64, Int) = (0, .max, .min, 0)
            for i in start..<end {
                let difference = differences[i]
                all |= zigzag(difference)
                least = min(least, difference)
                most = max(most, difference)
                if difference == 0 { zeros += 1 }
            }
            let width = 64 - all.leadingZeroBitCount
            blocks += 1 + (width * (end - start) + 7) / 8
            sparse += 1 + (end - start + 7) / 8 + (width * (end - start - zeros) + 7) / 8
            let span = UInt64(bitPattern: most &- least)
            referenced += 1 + zigzagLength(least) + ((64 - span.leadingZeroBitCount) * (end - start) + 7) / 8
            start = end
        }
        var run = 0
        for difference in differences {
            if difference == 0 {
                run += 1
                continue
            }
            if run > 0 { varints += 1 + varintLength(UInt64(run - 1)) }
            run = 0
            varints += zigzagLength(difference)
        }
        if run > 0 { varints += 1 + varintLength(UInt64(run - 1)) }
        let sizes: [(Form, Int)] = [
            (.varints, varints), (.blocks, blocks), (.referenced, referenced), (.sparse, sparse),
        ]
        let (form, size) = sizes.min { $0.1 < $1.1 } ?? (.varints, varints)
        return (differences, form, size)
    }

    private static func varintLength(_ value: UInt64) -> Int { max(1, (64 - value.leadingZeroBitCount + 6) / 7) }

    private static func zigzagLength(_ value: Int64) -> Int { varintLength(zigzag(value)) }

    private static func write(
        _ order: UInt8, _ form: Form, _ head: [UInt8], _ differences: [Int64], _ out: inout [UInt8]
    ) {
        switch form {
        case .blocks: out.append(order << 1)
        case .varints: out.append(order << 1 | 1)
        case .referenced: out.append(8 | order)
        case .sparse: out.append(16 | order)
        }
        out += head
        switch form {
        case .blocks: appendBlocks(differences.map(zigzag), &out)
        case .varints: appendVarints(differences.map(zigzag), &out)
        case .referenced: appendReferenced(differences, &out)
        case .sparse: appendSparse(differences, &out)
        }
    }

    private static func appendReferenced(_ values: [Int64], _ out: inout [UInt8]) {
        var start = 0
        while start < values.count {
            let block = values[start..<min(start + 64, values.count)]
            let least = block.min() ?? 0
            out.appendZigzag(least)
            appendBlocks(block.map { UInt64(bitPattern: $0 &- least) }, &out)
            start += 64
        }
    }

    private static func appendSparse(_ values: [Int64], _ out: inout [UInt8]) {
        var start = 0
        while start < values.count {
            let block = values[start..<min(start + 64, values.count)]
            let present = block.filter { $0 != 0 }.map(zigzag)
            let width = present.reduce(0) { max($0, 64 - $1.leadingZeroBitCount) }
            out.append(UInt8(width))
            var mask = BitWriter()
            for value in block { mask.write(value == 0 ? 0 : 1, 1) }
            out += mask.finish()
            var bits = BitWriter()
            for value in present { bits.write(value, width) }
            if width > 0 { out += bits.finish() }
            start += 64
        }
    }

    private static func appendBlocks(_ values: [UInt64], _ out: inout [UInt8]) {
        var start = 0
        while start < values.count {
            let block = values[start..<min(start + 64, values.count)]
            let width = block.reduce(0) { max($0, 64 - $1.leadingZeroBitCount) }
            out.append(UInt8(width))
            if width > 0 {
                var bits = BitWriter()
                for value in block { bits.write(value, width) }
                out += bits.finish()
            }
            start += 64
        }
    }

    private static func appendVarints(_ values: [UInt64], _ out: inout [UInt8]) {
        var index = 0
        while index < values.count {
            if values[index] != 0 {
                out.appendVarint(values[index])
                index += 1
                continue
            }
            var run = 1
            while index + run < values.count, values[index + run] == 0 { run += 1 }
            out.append(0)
            out.appendVarint(UInt64(run - 1))
            index += run
        }
    }

    /// Appends `count` values. Sets the reader's `failed` where the bytes are not a column of that length.
    static func decode(_ reader: inout ByteReader, count: Int, into out: inout [Int64]) {
        guard count > 0 else { return }
        let memory = UnsafeMutablePointer<Int64>.allocate(capacity: count)
        defer { memory.deallocate() }
        decode(&reader, count: count, to: memory)
        if !reader.failed { out.append(contentsOf: UnsafeBufferPointer(start: memory, count: count)) }
    }

    /// Writes the values of a column of `count`, which `out` has room for: all, or the first `wanted` at least.
    static func decode(
        _ reader: inout ByteReader, count: Int, wanted: Int = .max, to out: UnsafeMutablePointer<Int64>
    ) {
        guard count > 0 else { return }
        let kind = reader.byte()
        let (isReferenced, isSparse) = (kind & 0xf8 == 8, kind & 0xf8 == 16)
        let order = isReferenced || isSparse ? Int(kind & 7) : Int(kind >> 1)
        guard order == 1 || order == 2 else {
            reader.failed = true
            return
        }
        var sum = Sum(value: reader.zigzag(), out: out)
        out[0] = sum.value
        var left = count - 1
        if order == 2 {
            guard left > 0 else {
                reader.failed = true
                return
            }
            sum.difference = reader.zigzag()
            sum.value &+= sum.difference
            out[1] = sum.value
            left -= 1
        }
        sum.index = count - left
        if !isReferenced && !isSparse && kind & 1 == 1 {
            decodeVarints(&reader, order, &left, wanted, &sum)
            return
        }
        while left > 0, sum.index < wanted, !reader.failed {
            let reference = isReferenced ? reader.zigzag() : 0
            let width = Int(reader.byte())
            let size = min(64, left)
            guard width <= 64 else {
                reader.failed = true
                return
            }
            if isSparse {
                var mask: UInt64 = 0
                for i in 0..<((size + 7) / 8) { mask |= UInt64(reader.byte()) << UInt64(56 - i * 8) }
                if size < 64 { mask &= ~(UInt64.max >> UInt64(size)) }
                let block = BitBlock(&reader, count: mask.nonzeroBitCount, width: width)
                var place = 0
                for i in 0..<size {
                    var read: Int64 = 0
                    if (mask << UInt64(i)) >> 63 == 1 {
                        read = unzigzag(block[place])
                        place += 1
                    }
                    sum.add(read, order)
                }
            } else {
                let block = BitBlock(&reader, count: size, width: width)
                switch (isReferenced, order) {
                case (true, 1): for i in 0..<size { sum.add(reference &+ Int64(bitPattern: block[i]), 1) }
                case (true, _): for i in 0..<size { sum.add(reference &+ Int64(bitPattern: block[i]), 2) }
                case (false, 1): for i in 0..<size { sum.add(unzigzag(block[i]), 1) }
                case (false, _): for i in 0..<size { sum.add(unzigzag(block[i]), 2) }
                }
            }
            left -= size
        }
    }

    /// The value that differences have come to, and where the next one goes.
    private struct Sum {
        var value: Int64
        var difference: Int64 = 0
        var index = 0
        let out: UnsafeMutablePointer<Int64>

        @inline(__always)
        mutating func add(_ read: Int64, _ order: Int) {
            if order == 1 {
                value &+= read
            } else {
                difference &+= read
                value &+= difference
            }
            out[index] = value
            index += 1
        }
    }

    private static func decodeVarints(
        _ reader: inout ByteReader, _ order: Int, _ left: inout Int, _ wanted: Int, _ sum: inout Sum
    ) {
        while left > 0, sum.index < wanted, !reader.failed {
            let coded = reader.varint()
            if coded != 0 {
                sum.add(unzigzag(coded), order)
                left -= 1
                continue
            }
            let run = reader.varint()
            guard run < UInt64(left) else {
                reader.failed = true
                return
            }
            for _ in 0...run { sum.add(0, order) }
            left -= Int(run) + 1
        }
    }
}
