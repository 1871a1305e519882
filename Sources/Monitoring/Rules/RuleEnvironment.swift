package import Logging
package import MetricModel
package import Platform
package import PromQL

/// One expression of a rule as it was evaluated.
package struct RuleQuery: Sendable {
    package var expr: Expr
    /// The moment that was asked for. Milliseconds since 1970 UTC.
    package var time: Int64
    package var group: String
    package var file: String
    /// Nanoseconds of the monotonic clock.
    package var began: Int64
    package var ended: Int64
    package var stats: QueryStats
    package var error: String?
}

/// What evaluating rules needs of the outside.
package struct RuleEnvironment: Sendable {
    package var engine: Engine
    package var source: any Queryable
    package var appender: any SampleAppender
    package var externalLabels = Labels.empty
    /// Base of the links in alerts.
    package var externalURL = ""
    /// Told of alerts that fire or have resolved, external labels not yet added. Must not block.
    package var notify: @Sendable ([PostedAlert]) -> Void
    /// How often an alert that goes on firing is told of again. Milliseconds.
    package var resendDelay: Int64 = 60_000
    /// Alerts are restored from samples at most so old. Milliseconds.
    package var outageTolerance: Int64 = 3_600_000
    package var gracePeriod: Int64 = 600_000
    package var maxSamples = 50_000_000
    package var timeout: Duration = .seconds(120)
    package var clock: WallClock
    package var metrics: MetricRegistry
    package var log: Logger
    /// Told of each expression that was evaluated here. Must not block.
    package var observe: @Sendable (RuleQuery) -> Void = { _ in }
    /// Where a remote engine evaluates: the vector that an expression yields at a moment.
    package var evaluate: (@Sendable (String, Int64) throws -> [VectorSample])?

    package init(
        engine: Engine, source: any Queryable, appender: any SampleAppender,
        notify: @escaping @Sendable ([PostedAlert]) -> Void, clock: WallClock, metrics: MetricRegistry, log: Logger
    ) {
        self.engine = engine
        self.source = source
        self.appender = appender
        self.notify = notify
        self.clock = clock
        self.metrics = metrics
        self.log = log
    }

    /// The vector that an expression of a group yields; a scalar is one sample without labels, as rules take it.
    func vector(_ expr: Expr, at time: Int64, of group: RuleGroupDefinition) throws -> [VectorSample] {
        if let evaluate { return try evaluate(expr.description, time) }
        var query = RuleQuery(
            expr: expr, time: time, group: group.name, file: group.file, began: monotonicNanoseconds(), ended: 0,
            stats: QueryStats())
        defer {
            query.ended = monotonicNanoseconds()
            observe(query)
        }
        let control = QueryControl(maxSamples: maxSamples, timeout: timeout, parallel: engine.options.parallel)
        do {
            let result = try engine.instant(expr, at: time, source: source, control: control)
            query.stats = result.stats
            switch result.value {
            case .vector(let samples): return samples
            case .scalar(let at, let value): return [VectorSample(labels: .empty, timestamp: at, value: value)]
            case .string, .matrix: throw QueryError(.execution, "rule result is not a vector or scalar")
            }
        } catch {
            query.error = "\(error)"
            throw error
        }
    }
}
