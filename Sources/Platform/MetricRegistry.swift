import Synchronization

/// A value that only grows. Thread-safe, lock-free.
package final class Counter: Sendable {
    private let bits = Atomic<UInt64>(0)

    package func add(_ amount: Double = 1) {
        var old = bits.load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (done, seen) = bits.compareExchange(expected: old, desired: new, ordering: .relaxed)
            if done { return }
            old = seen
        }
    }

    package var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
}

/// A value that goes up and down. Thread-safe, lock-free.
package final class Gauge: Sendable {
    private let bits = Atomic<UInt64>(0)

    package func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }

    package func add(_ amount: Double) {
        var old = bits.load(ordering: .relaxed)
        while true {
            let new = (Double(bitPattern: old) + amount).bitPattern
            let (done, seen) = bits.compareExchange(expected: old, desired: new, ordering: .relaxed)
            if done { return }
            old = seen
        }
    }

    package var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
}

/// Counts of observations in buckets with fixed upper bounds. Thread-safe.
package final class Histogram: Sendable {
    package let bounds: [Double]
    private let state: Lock<(counts: [UInt64], sum: Double)>

    init(bounds: [Double]) {
        self.bounds = bounds
        state = Lock((Array(repeating: 0, count: bounds.count + 1), 0))
    }

    package func observe(_ value: Double) {
        let i = bounds.firstIndex { value <= $0 } ?? bounds.count
        state.withLock {
            $0.counts[i] += 1
            $0.sum += value
        }
    }

    package var snapshot: (counts: [UInt64], sum: Double) { state.withLock { $0 } }
}

/// Collects families of metrics while an exposition is made.
package struct MetricWriter {
    struct Family {
        var help: String
        var type: String
        var lines: [(suffix: String, labels: [(String, String)], value: Double)] = []
    }

    var families: [String: Family] = [:]

    /// Adds one sample; help and type are those given first.
    package mutating func write(
        _ name: String, _ help: String, type: String = "gauge", labels: [(String, String)] = [], _ value: Double,
        suffix: String = ""
    ) {
        families[name, default: Family(help: help, type: type)].lines.append((suffix, labels, value))
    }
}

/// The sidecar's own metrics. Thread-safe; the same name and labels give the same instrument.
package final class MetricRegistry: Sendable {
    private enum Instrument: Sendable {
        case counter(Counter)
        case gauge(Gauge)
        case histogram(Histogram)
    }

    private struct Entry: Sendable {
        var name: String
        var help: String
        var labels: [(String, String)]
        var instrument: Instrument
    }

    private struct State {
        var entries: [String: Entry] = [:]
        var order: [String] = []
        var collectors: [@Sendable (inout MetricWriter) -> Void] = []
    }

    private let state = Lock(State())

    package init() {}

    private func entry(_ name: String, _ help: String, _ labels: [(String, String)], _ make: () -> Instrument)
        -> Instrument
    {
        let key = name + labels.map { "\u{1}\($0.0)\u{2}\($0.1)" }.joined()
        return state.withLock { state in
            if let found = state.entries[key] { return found.instrument }
            let made = make()
            state.entries[key] = Entry(name: name, help: help, labels: labels, instrument: made)
            state.order.append(key)
            return made
        }
    }

    package func counter(_ name: String, _ help: String, labels: [(String, String)] = []) -> Counter {
        if case .counter(let c) = entry(name, help, labels, { .counter(Counter()) }) { return c }
        return Counter()
    }

    package func gauge(_ name: String, _ help: String, labels: [(String, String)] = []) -> Gauge {
        if case .gauge(let g) = entry(name, help, labels, { .gauge(Gauge()) }) { return g }
        return Gauge()
    }

    package func histogram(_ name: String, _ help: String, labels: [(String, String)] = [], bounds: [Double])
        -> Histogram
    {
        if case .histogram(let h) = entry(name, help, labels, { .histogram(Histogram(bounds: bounds)) }) { return h }
        return Histogram(bounds: bounds)
    }

    /// Forgets an instrument (a target or a receiver that is gone).
    package func remove(_ name: String, labels: [(String, String)] = []) {
        let key = name + labels.map { "\u{1}\($0.0)\u{2}\($0.1)" }.joined()
        state.withLock { state in
            if state.entries.removeValue(forKey: key) != nil { state.order.removeAll { $0 == key } }
        }
    }

    /// Has `collect` called at each exposition, for values that are better read than kept.
    package func onCollect(_ collect: @escaping @Sendable (inout MetricWriter) -> Void) {
        state.withLock { $0.collectors.append(collect) }
    }

    /// All metrics in Prometheus' text format 0.0.4, families sorted by name.
    package func expose() -> [UInt8] {
        let (entries, collectors) = state.withLock { state in
            (state.order.compactMap { state.entries[$0] }, state.collectors)
        }
        var writer = MetricWriter()
        for entry in entries {
            switch entry.instrument {
            case .counter(let c): writer.write(entry.name, entry.help, type: "counter", labels: entry.labels, c.value)
            case .gauge(let g): writer.write(entry.name, entry.help, labels: entry.labels, g.value)
            case .histogram(let h):
                let (counts, sum) = h.snapshot
                var running: UInt64 = 0
                for (i, n) in counts.enumerated() {
                    running += n
                    let bound = i < h.bounds.count ? numberText(h.bounds[i]) : "+Inf"
                    writer.write(
                        entry.name, entry.help, type: "histogram", labels: entry.labels + [("le", bound)],
                        Double(running), suffix: "_bucket")
                }
                writer.write(entry.name, entry.help, type: "histogram", labels: entry.labels, sum, suffix: "_sum")
                writer.write(
                    entry.name, entry.help, type: "histogram", labels: entry.labels, Double(running), suffix: "_count")
            }
        }
        for collect in collectors { collect(&writer) }
        var out = ""
        for (name, family) in writer.families.sorted(by: { $0.key < $1.key }) {
            out += "# HELP \(name) \(escape(family.help, quotes: false))\n# TYPE \(name) \(family.type)\n"
            for line in family.lines {
                out += name + line.suffix
                if !line.labels.isEmpty {
                    let labels = line.labels.map { "\($0.0)=\"\(escape($0.1, quotes: true))\"" }
                    out += "{" + labels.joined(separator: ",") + "}"
                }
                out += " \(numberText(line.value))\n"
            }
        }
        return Array(out.utf8)
    }

    private func escape(_ text: String, quotes: Bool) -> String {
        var out = ""
        for c in text.unicodeScalars {
            switch c {
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\"" where quotes: out += "\\\""
            default: out.unicodeScalars.append(c)
            }
        }
        return out
    }

    private func numberText(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        if value == value.rounded(), abs(value) < 1e15 { return String(Int64(value)) }
        return "\(value)"
    }
}
