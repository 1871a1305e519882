import Platform

/// Which questions took next to no time when they were asked last. Dashboards, probes and scripts ask the same again and again,
/// and to hand a small query to another thread and be woken by it costs more than the query. Thread-safe.
package final class QuickQueries: Sendable {
    /// A query as it is asked again later: its times move, their distance does not.
    package struct Question: Hashable, Sendable {
        let text: String
        let span: Int64
        let step: Int64

        /// Milliseconds. Nil for texts that are too long to keep.
        init?(_ text: String, span: Int64, step: Int64) {
            guard text.utf8.count <= 2048 else { return nil }
            (self.text, self.span, self.step) = (text, span, step)
        }
    }

    /// What takes longer is worth a thread of the pool. Nanoseconds.
    package static let quick: Int64 = 2_000_000
    /// Questions that are kept; beyond it all are forgotten, which costs each one hand-over.
    private static let limit = 500

    /// One evaluation's bounds on the thread that serves everybody: beyond them it is given up and begun again in the pool.
    static let trialTime = Duration.milliseconds(20)
    static let trialSamples = 1_000_000

    private let quick: Int64
    private let questions = Lock<Set<Question>>([])
    private let answered: Counter
    private let givenUp: Counter

    init(_ metrics: MetricRegistry, quick: Int64) {
        self.quick = quick
        func counter(_ outcome: String) -> Counter {
            metrics.counter(
                "kops_queries_inline_total",
                "Small queries evaluated on the thread that read the request, and those that were then too much for it.",
                labels: [("outcome", outcome)])
        }
        answered = counter("answered")
        givenUp = counter("given_up")
    }

    func contains(_ question: Question) -> Bool { questions.withLock { $0.contains(question) } }

    func answered(_ question: Question, began: Int64) {
        answered.add()
        note(question, began: began)
    }

    func givenUp(_ question: Question) {
        givenUp.add()
        questions.withLock { _ = $0.remove(question) }
    }

    /// The question was answered and the evaluation began at that moment of the monotonic clock, in nanoseconds.
    func note(_ question: Question, began: Int64) {
        let isQuick = monotonicNanoseconds() - began < quick
        questions.withLock { questions in
            if !isQuick {
                questions.remove(question)
            } else if !questions.contains(question) {
                if questions.count == Self.limit { questions.removeAll(keepingCapacity: true) }
                questions.insert(question)
            }
        }
    }
}
