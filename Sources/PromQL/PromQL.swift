/// Prometheus' query language: text to tree (`parseExpression`), tree to answer (`Engine`), and the test language
/// (`PromQLScript`).
///
/// Nothing here owns state that outlives a query. Trees are immutable and may be shared between threads; an `Engine`
/// holds options only. Evaluation is synchronous: call it on a worker thread with a `QueryControl` that limits it.

/// Parts of the language that Prometheus hides behind `--enable-feature=`.
package struct PromQLFeatures: OptionSet, Sendable, Hashable {
    package let rawValue: Int
    package init(rawValue: Int) { self.rawValue = rawValue }

    package static let experimentalFunctions = PromQLFeatures(rawValue: 1)
    package static let durationExpressions = PromQLFeatures(rawValue: 2)
    package static let delayedNameRemoval = PromQLFeatures(rawValue: 4)
    package static let extendedRangeSelectors = PromQLFeatures(rawValue: 8)
    package static let fillModifiers = PromQLFeatures(rawValue: 16)
    package static let perStepStats = PromQLFeatures(rawValue: 32)
    package static let typeAndUnitLabels = PromQLFeatures(rawValue: 64)
    package static let startTimestamps = PromQLFeatures(rawValue: 128)

    /// Everything that changes the language, as Prometheus' own test scripts are run.
    package static let all: PromQLFeatures = [
        .experimentalFunctions, .durationExpressions, .delayedNameRemoval, .extendedRangeSelectors, .fillModifiers,
    ]

    /// Names as `--enable-feature` takes them.
    package static let names: [(name: String, feature: PromQLFeatures)] = [
        ("promql-experimental-functions", .experimentalFunctions), ("promql-duration-expr", .durationExpressions),
        ("promql-delayed-name-removal", .delayedNameRemoval),
        ("promql-extended-range-selectors", .extendedRangeSelectors),
        ("promql-binop-fill-modifiers", .fillModifiers), ("promql-per-step-stats", .perStepStats),
        ("type-and-unit-labels", .typeAndUnitLabels), ("use-start-timestamps", .startTimestamps),
    ]

    /// The feature of that name; nil where there is none in the query language.
    package init?(name: String) {
        guard let found = Self.names.first(where: { $0.name == name }) else { return nil }
        self = found.feature
    }
}
