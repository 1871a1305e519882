/// A column of integers, coded as first value and differences of first or second order. The differences go either into
/// blocks of 64 of one bit width each, or into varints with runs of zeros; whichever is shortest is kept.
///
/// Layout: one byte `order << 1 | form` (form 0 blocks, 1 varints), the first value (and with order 2 the first difference)
/// as zigzag varints, then the rest. Blocks: a byte of width, then the block's values in that many bits each, to the next
/// whole byte. Varints: zigzag, where zero is followed by the run's length minus one.
enum IntegerColumn {
    static func encode(_ values: [Int64], into out: inout [UInt8]) {
        guard let first = values.first else { return }
        var best: [UInt8]?
        for order in 1...2 {
            if order == 2 && values.count < 3 { continue }
            var head: [UInt8] = []
            head.appendZigzag(first)
            var differences: [UInt64] = []
            differences.reserveCapacity(values.count)
            var previous: Int64 = 0
            for index in 1..<max(1, values.count) {
                let difference = values[index] &- values[index - 1]
                if order == 1 {
                    differences.append(zigzag(difference))
                } else if index == 1 {
                    head.appendZigzag(difference)
                } else {
                    differences.append(zigzag(difference &- previous))
                }
                previous = difference
            }
            for form in 0...1 {
                var candidate: [UInt8] = [UInt8(order << 1 | form)]
                candidate += head
                if form == 0 { appendBlocks(differences, &candidate) } else { appendVarints(differences, &candidate) }
                if candidate.count < best?.count ?? Int.max { best = candidate }
            }
        }
        out += best ?? []
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

    /// Writes `count` values, which `out` has room for.
    static func decode(_ reader: inout ByteReader, count: Int, to out: UnsafeMutablePointer<Int64>) {
        guard count > 0 else { return }
        var index = 0
        let kind = reader.byte()
        let order = Int(kind >> 1)
        guard order == 1 || order == 2 else {
            reader.failed = true
            return
        }
        var value = reader.zigzag()
        out[0] = value
        index = 1
        var difference: Int64 = 0
        var left = count - 1
        if order == 2 {
            guard left > 0 else {
                reader.failed = true
                return
            }
            difference = reader.zigzag()
            value &+= difference
            out[1] = value
            index = 2
            left -= 1
        }
        if kind & 1 == 0 {
            while left > 0, !reader.failed {
                let width = Int(reader.byte())
                let size = min(64, left)
                guard width <= 64 else {
                    reader.failed = true
                    return
                }
                var bits = BitReader(reader.slice((size * width + 7) / 8))
                if order == 1 {
                    for _ in 0..<size {
                        value &+= unzigzag(bits.read(width))
                        out[index] = value
                        index += 1
                    }
                } else {
                    for _ in 0..<size {
                        difference &+= unzigzag(bits.read(width))
                        value &+= difference
                        out[index] = value
                        index += 1
                    }
                }
                left -= size
            }
        } else {
            while left > 0, !reader.failed {
                let coded = reader.varint()
                if coded != 0 {
                    if order == 1 { difference = unzigzag(coded) } else { difference &+= unzigzag(coded) }
                    value &+= difference
                    out[index] = value
                    index += 1
                    left -= 1
                    continue
                }
                let run = reader.varint()
                guard run < UInt64(left) else {
                    reader.failed = true
                    return
                }
                if order == 1 { difference = 0 }
                for _ in 0...run {
                    value &+= difference
                    out[index] = value
                    index += 1
                }
                left -= Int(run) + 1
            }
        }
    }
}
