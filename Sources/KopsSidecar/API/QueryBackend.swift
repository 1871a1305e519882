package import MetricModel
package import Platform
package import PromQL

/// What queries run against and within which limits. Thread-safe.
package struct QueryBackend: Sendable {
    package var engine: Engine
    package var source: any Queryable
    /// A query may hold so many samples in memory.
    package var maxSamples = 50_000_000
    package var timeout: Duration = .seconds(120)
    package var clock: WallClock
    package var metrics: MetricRegistry
    /// Where queries compute; its queue bounds how many may wait.
    package var pool: WorkerPool
    /// Where queries are written down.
    package var log: QueryLog?

    package init(
        engine: Engine, source: any Queryable, clock: WallClock, metrics: MetricRegistry, pool: WorkerPool
    ) {
        self.engine = engine
        self.source = source
        self.clock = clock
        self.metrics = metrics
        self.pool = pool
    }

    /// Runs work that reads the store on the pool, with a control that ends it when the client goes away.
    func run<R: Sendable>(
        _ cancellation: Cancellation, timeout: Duration? = nil,
        _ body: @escaping @Sendable (QueryControl) throws -> R
    ) async throws -> R {
        let control = QueryControl(
            maxSamples: maxSamples, timeout: min(timeout ?? self.timeout, self.timeout),
            parallel: engine.options.parallel)
        cancellation.onCancel { control.cancel() }
        do {
            return try await pool.run {
                try control.check()
                return try body(control)
            }
        } catch let error as QueryError {
            if error.kind == .canceled { count("canceled") }
            if error.kind == .timeout { count("timeout") }
            if error.message.contains("too many samples") { count("samples") }
            throw APIError(APIError.Kind(rawValue: error.kind.rawValue) ?? .execution, error.message)
        } catch let stop as QueryStop {
            switch stop {
            case .cancelled: count("canceled")
            case .timedOut: count("timeout")
            case .tooManySamples: count("samples")
            }
            switch stop {
            case .cancelled: throw APIError(.canceled, "query was canceled")
            case .timedOut: throw APIError(.timeout, "query timed out in expression evaluation")
            case .tooManySamples:
                throw APIError(
                    .execution, "query processing would load too many samples into memory in query execution")
            }
        }
    }

    private func count(_ reason: String) {
        metrics.counter(
            "kops_queries_stopped_total", "Queries that ended before their answer, by what stopped them.",
            labels: [("reason", reason)]
        ).add()
    }
}
