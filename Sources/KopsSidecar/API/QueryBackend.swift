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
    private let quick: QuickQueries

    package init(
        engine: Engine, source: any Queryable, clock: WallClock, metrics: MetricRegistry, pool: WorkerPool,
        quick: Int64 = QuickQueries.quick
    ) {
        self.engine = engine
        self.source = source
        self.clock = clock
        self.metrics = metrics
        self.pool = pool
        self.quick = QuickQueries(metrics, quick: quick)
    }

    /// Runs work that reads the store on the pool, with a control that ends it when the client goes away. A `question` that was
    /// answered quickly the last time is tried on the calling thread first where `isHere`: `body` may then be called twice.
    func run<R: Sendable>(
        _ cancellation: Cancellation, timeout: Duration? = nil, asking question: QuickQueries.Question? = nil,
        isHere: Bool = false, _ body: @escaping @Sendable (QueryControl) throws -> R
    ) async throws -> R {
        if isHere, let question, quick.contains(question), let answer = answerHere(question, body) { return answer }
        let control = QueryControl(
            maxSamples: maxSamples, timeout: min(timeout ?? self.timeout, self.timeout),
            parallel: engine.options.parallel)
        cancellation.onCancel { control.cancel() }
        do {
            return try await pool.run { [quick] in
                try control.check()
                guard let question else { return try body(control) }
                let began = monotonicNanoseconds()
                let answer = try body(control)
                quick.note(question, began: began)
                return answer
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
            case .wouldWait: break
            }
            switch stop {
            case .cancelled, .wouldWait: throw APIError(.canceled, "query was canceled")
            case .timedOut: throw APIError(.timeout, "query timed out in expression evaluation")
            case .tooManySamples:
                throw APIError(
                    .execution, "query processing would load too many samples into memory in query execution")
            }
        }
    }

    /// The answer, if it can be had at once: from memory, within narrow bounds. Whatever goes wrong is left to the pool, which tells it.
    private func answerHere<R>(_ question: QuickQueries.Question, _ body: (QueryControl) throws -> R) -> R? {
        let control = QueryControl(
            maxSamples: min(maxSamples, QuickQueries.trialSamples), timeout: QuickQueries.trialTime, mayWait: false)
        let began = monotonicNanoseconds()
        guard let answer = try? body(control) else {
            quick.givenUp(question)
            return nil
        }
        quick.answered(question, began: began)
        return answer
    }

    private func count(_ reason: String) {
        metrics.counter(
            "kops_queries_stopped_total", "Queries that ended before their answer, by what stopped them.",
            labels: [("reason", reason)]
        ).add()
    }
}
