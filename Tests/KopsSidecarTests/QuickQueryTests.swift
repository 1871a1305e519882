import Glibc
import Logging
import MetricModel
import NIOCore
import NIOEmbedded
import Platform
import PromQL
import Testing

@testable import KopsSidecar

/// A source that notes how it was asked and can be told to be slow, or to need a disk.
private final class NotingSource: Queryable {
    struct State {
        var asked: [Bool] = []
        var delay = 0
        var needsDisk = false
    }

    let state = Lock(State())
    let series = MemorySeries()

    /// Whether each call so far was allowed to wait; forgotten then.
    var asked: [Bool] {
        state.withLock { state in
            defer { state.asked = [] }
            return state.asked
        }
    }

    func select(_ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl) throws -> [SeriesData] {
        let (delay, needsDisk) = state.withLock { state in
            state.asked.append(control.mayWait)
            return (state.delay, state.needsDisk)
        }
        if needsDisk { try control.checkMayWait() }
        let until = monotonicNanoseconds() + Int64(delay) * 1_000_000
        while monotonicNanoseconds() < until {
            try control.check()
            usleep(1000)
        }
        return try series.select(matchers, from: from, through: through, control: control)
    }

    func series(_ matcherSets: [[LabelMatcher]], from: Int64, through: Int64, limit: Int) throws -> [Labels] { [] }
    func labelNames(_ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws -> [String] { [] }
    func labelValues(_ name: String, _ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws
        -> [String]
    { [] }
}

/// Queries that were quick the last time are evaluated where they came in, and never to anybody's harm.
@Suite struct QuickQueryTests {
    private let source = NotingSource()
    private let metrics = MetricRegistry()
    private let routes: [Route]

    init() {
        source.series.append(Labels([("__name__", "m")]), timestamp: 1000, value: 7)
        routes =
            QueryRoutes(
                QueryBackend(
                    engine: Engine(), source: source, clock: WallClock { 2000 }, metrics: metrics, pool: .shared,
                    // A busy machine is not to be taken for a slow query.
                    quick: 500_000_000)
            ).routes
    }

    private func ask(_ query: String, _ more: (String, String)..., path: String = "/api/v1/query") async -> APIReply {
        await ask(query, more, path: path)
    }

    private func ask(_ query: String, _ more: [(String, String)], path: String) async -> APIReply {
        var log = Logger(label: "test")
        log.logLevel = .critical
        let table = RouteTable(routes, access: WebAccess(log: log), metrics: metrics, log: log)
        return await table.answer(
            APIRequest(method: "GET", path: path, parameters: [(name: "query", value: query)] + more.map { ($0, $1) }))
    }

    /// Asks until the question has been found quick, which a very busy machine may take several times for.
    private func settle(_ query: String, _ more: (String, String)..., path: String = "/api/v1/query") async {
        for _ in 0..<1000 {
            _ = await ask(query, more, path: path)
            if source.asked == [false] { return }
        }
        Issue.record("\(query) never became a quick question")
    }

    private func isSeven(_ reply: APIReply) -> Bool {
        guard reply.status == 200, case .bytes(let bytes) = reply.body else { return false }
        return String(decoding: bytes, as: UTF8.self).contains("\"7\"")
    }

    private func outcomes(_ outcome: String) -> Double {
        metrics.counter("kops_queries_inline_total", "", labels: [("outcome", outcome)]).value
    }

    @Test func theSameQuestionIsAnsweredAtOnceTheNextTime() async {
        #expect(isSeven(await ask("m", ("time", "1.5"))))
        #expect(source.asked == [true] && outcomes("answered") == 0)
        await settle("m", ("time", "1.6"))
        // Another moment is the same question, another text, step or span is not.
        #expect(isSeven(await ask("m", ("time", "1.7"))))
        #expect(source.asked.first == false && outcomes("answered") >= 1)
        #expect(isSeven(await ask("m + 0", ("time", "1.5"))))
        #expect(source.asked == [true])
        let range = "/api/v1/query_range"
        await settle("m", ("start", "1"), ("end", "2"), ("step", "1"), path: range)
        #expect(isSeven(await ask("m", ("start", "1"), ("end", "3"), ("step", "1"), path: range)))
        #expect(source.asked == [true])
        #expect(isSeven(await ask("m", ("start", "1"), ("end", "2"), ("step", "0.5"), path: range)))
        #expect(source.asked == [true])
    }

    /// Of what comes at once only the first; the others go to threads that work beside it.
    @Test func oneRequestOfATurnIsAnsweredHere() async throws {
        let loop = EmbeddedEventLoop()
        let turn = LoopTurn(loop)
        #expect(turn.take() && !turn.take() && !turn.take())
        loop.run()
        #expect(turn.take() && !turn.take())
        try loop.close()

        await settle("m")
        var request = APIRequest(method: "GET", path: "/api/v1/query", parameters: [(name: "query", value: "m")])
        request.mayAnswerHere = false
        let route = try #require(routes.first { $0.segments == ["api", "v1", "query"] })
        #expect(isSeven(try await route.handler(request)))
        #expect(source.asked == [true])
    }

    @Test func whatNeedsADiskIsAskedAgainInThePool() async {
        await settle("m")
        source.state.withLock { $0.needsDisk = true }
        #expect(isSeven(await ask("m")))
        #expect(source.asked == [false, true] && outcomes("given_up") >= 1)
    }

    @Test func whatTakesLongGoesToThePool() async {
        await settle("m")
        // It has become slow: given up within its bounds, and not tried again.
        source.state.withLock { $0.delay = 600 }
        #expect(isSeven(await ask("m")))
        #expect(source.asked == [false, true] && outcomes("given_up") >= 1)
        #expect(isSeven(await ask("m")))
        #expect(source.asked == [true])
    }

    @Test func whatIsWrongIsToldAsEver() async {
        await settle("m * on () m")
        source.series.append(Labels([("__name__", "m"), ("a", "b")]), timestamp: 1000, value: 7)
        for _ in 0..<3 { #expect(await ask("m * on () m").status == 422) }
        // A client's own limit holds too.
        await settle("m + 1")
        source.state.withLock { $0.delay = 100 }
        #expect(await ask("m + 1", ("timeout", "10ms")).status == 503)
    }

    @Test func questionsAreForgottenBeforeTheyAreTooMany() async {
        for number in 0..<1200 { #expect(await ask("m + \(number)").status == 200) }
        _ = source.asked
        await settle("m + 1199")
        #expect(QuickQueries.Question(String(repeating: "m", count: 5000), span: 0, step: 0) == nil)
    }
}
