import MetricModel

/// The steps an expression is evaluated at: `start`, `start + step`, … (`count` of them).
struct Grid: Hashable, Sendable {
    var start: Int64
    var step: Int64
    var count: Int

    @inline(__always)
    func time(_ i: Int) -> Int64 { start + Int64(i) * step }

    var end: Int64 { time(count - 1) }

    var first: Grid { Grid(start: start, step: step, count: 1) }
}

/// Marks a step at which a series has no float. Stale markers never get into results, and arithmetic never makes their
/// signalling bit pattern, so it is free for this.
@inline(__always)
var absent: Double { Double.staleMarker }

extension Double {
    @inline(__always)
    var isAbsent: Bool { bitPattern == staleMarkerBits }
}

/// One series of an instant vector over all steps of a grid.
struct Column: Sendable {
    var labels: Labels
    /// Delayed name removal: the name (type, unit) goes at the end of the query.
    var dropName = false
    /// A value for every step, or `absent`.
    var values: [Double]
    /// Nil where all samples are floats; else as long as `values`, which is `absent` where this is not nil.
    var histograms: [NativeHistogram?]?

    init(labels: Labels, dropName: Bool = false, values: [Double], histograms: [NativeHistogram?]? = nil) {
        self.labels = labels
        self.dropName = dropName
        self.values = values
        self.histograms = histograms
    }

    func isPresent(_ i: Int) -> Bool { !values[i].isAbsent || (histograms.map { $0[i] != nil } ?? false) }

    var isEmpty: Bool {
        if let histograms, histograms.contains(where: { $0 != nil }) { return false }
        return values.allSatisfy(\.isAbsent)
    }

    /// Forgets what is there at a step.
    mutating func clear(_ i: Int) {
        values[i] = absent
        if histograms != nil { histograms?[i] = nil }
    }

    mutating func set(_ i: Int, _ histogram: NativeHistogram) {
        if histograms == nil { histograms = [NativeHistogram?](repeating: nil, count: values.count) }
        histograms?[i] = histogram
        values[i] = absent
    }
}

/// What an expression yields over a grid.
enum Evaluated {
    case scalar([Double])
    case string(String)
    case vector([Column])

    /// Figures held in memory.
    var cells: Int {
        switch self {
        case .scalar(let values): values.count
        case .string: 1
        case .vector(let columns): columns.count * (columns.first?.values.count ?? 0)
        }
    }
}

/// A set of label names, for keeping or dropping labels without making strings.
struct LabelNames: Sendable {
    private let names: [[UInt8]]

    init(_ names: [String]) { self.names = names.map { Array($0.utf8) } }

    @inline(__always)
    func contains(_ name: UnsafeRawBufferPointer) -> Bool {
        for candidate in names where candidate.count == name.count {
            if candidate.elementsEqual(name) { return true }
        }
        return false
    }

    static let metadata = LabelNames(["__name__", "__type__", "__unit__"])
    /// Metadata's names begin with a smaller byte.
    static let behindMetadata = UInt8(ascii: "_") + 1
    static let typeAndUnit = LabelNames(["__type__", "__unit__"])
    static let metricName = LabelNames(["__name__"])
}

extension Labels {
    func keeping(_ names: LabelNames) -> Labels { removing { !names.contains($0) } }
    func dropping(_ names: LabelNames) -> Labels { removing { names.contains($0) } }

    /// Whether it has `__type__` or `__unit__`, without which series of one name may be alike.
    var hasTypeOrUnit: Bool {
        hasName(before: LabelNames.behindMetadata) { LabelNames.typeAndUnit.contains($0) }
    }

    /// Without what says which metric it is: name, type and unit.
    var withoutMetadata: Labels { removing(before: LabelNames.behindMetadata) { LabelNames.metadata.contains($0) } }
}

/// Whether each column's labels come before the next one's, so that all differ. Sources give series in this order, and it
/// mostly outlives the loss of a name.
func ascend(_ columns: [Column]) -> Bool {
    for i in columns.indices.dropFirst() where columns[i].labels <= columns[i - 1].labels { return false }
    return true
}

/// Joins columns with the same labels into one where no two of them have a sample at the same step; throws otherwise.
func joinSameLabels(_ columns: [Column]) throws(QueryError) -> [Column] {
    if columns.count < 2 || ascend(columns) { return columns }
    var places: [Labels: Int] = [:]
    places.reserveCapacity(columns.count)
    var unique = true
    for (i, column) in columns.enumerated() {
        if places.updateValue(i, forKey: column.labels) != nil {
            unique = false
            break
        }
    }
    if unique { return columns }
    places.removeAll(keepingCapacity: true)
    var out: [Column] = []
    for column in columns {
        guard let place = places[column.labels] else {
            places[column.labels] = out.count
            out.append(column)
            continue
        }
        for i in column.values.indices where column.isPresent(i) {
            if out[place].isPresent(i) { throw duplicateLabels }
            if let histogram = column.histograms?[i] {
                out[place].set(i, histogram)
            } else {
                out[place].values[i] = column.values[i]
            }
        }
        if column.dropName { out[place].dropName = true }
    }
    return out
}

let duplicateLabels = QueryError(.execution, "vector cannot contain metrics with the same labelset")
