import Logging
import MetricModel
import Platform

/// Scrapes one target on its beat. Thread-safe.
final class ScrapeLoop: Sendable {
    let target: Target
    private let config: ScrapeConfig
    private let environment: ScrapeEnvironment
    private let authorizer: HTTPAuthorizer
    private let current: Lock<TargetStatus>
    private let failure = Lock<String?>(nil)
    private let task = Lock<Task<Void, Never>?>(nil)
    private let marksEnd = Lock(true)
    private let figures: ScrapeFigures
    /// Over loopback a body costs less than compressing and inflating it does, on this machine's own processors.
    private let asksForCompression: Bool
    /// Touched by one scrape at a time; behind a lock so that it is changed in place and never copied.
    private let work: Lock<(body: ScrapeBody, report: ScrapeReport)>

    init(_ target: Target, _ config: ScrapeConfig, _ environment: ScrapeEnvironment) {
        self.target = target
        self.config = config
        self.environment = environment
        authorizer = HTTPAuthorizer(config.http, client: environment.client, clock: environment.clock)
        current = Lock(TargetStatus(target: target, pool: config.jobName))
        figures = ScrapeFigures(environment.metrics)
        asksForCompression =
            config.enableCompression && (config.compressesLoopback || !isLoopback(target.url))
        work = Lock((ScrapeBody(config: config, targetLabels: target.labels), ScrapeReport(target.labels)))
    }

    var status: TargetStatus { current.withLock { $0 } }

    /// Makes every scrape fail with this text; nil lifts it.
    func setFailure(_ text: String?) { failure.withLock { $0 = text } }

    /// Discovery says the same target otherwise than before.
    func setDiscovered(_ labels: Labels) { current.withLock { $0.target.discovered = labels } }

    func start() {
        let started = Task { [self] in await run() }
        task.withLock { $0 = started }
    }

    /// The target is gone: its series end. Not so where the whole process stops, which says nothing of the target: the next
    /// one finds its alerts where they were.
    func stop(endsSeries: Bool = true) {
        marksEnd.withLock { $0 = endsSeries }
        task.withLock { $0?.cancel() }
    }

    func finished() async { await task.withLock { $0 }?.value }

    private func run() async {
        // Targets are spread over the interval by what they are, so that their load is even and stays so over restarts.
        let interval = target.scrapeInterval
        let hash = stableHash(target.url + target.labels.description)
        var due = nextBeat(
            environment.clock.nowMilliseconds(), interval: interval, offset: Int64(hash % UInt64(interval)))
        while !Task.isCancelled {
            let wait = due - environment.clock.nowMilliseconds()
            if wait > 0 { try? await Task.sleep(for: .milliseconds(wait)) }
            if Task.isCancelled { break }
            let now = environment.clock.nowMilliseconds()
            // A clock that was set: the beat starts anew.
            if now + interval < due { due = now }
            // On the beat where it is met closely: even distances take no room in the store.
            let tolerance = min(100, interval / 100)
            let time = (now - due).magnitude <= UInt64(tolerance) ? due : now
            await scrape(at: time)
            due += interval
            let after = environment.clock.nowMilliseconds()
            if due <= after - interval { due = after + (due - after) % interval + interval }
        }
        guard marksEnd.withLock({ $0 }) else { return }
        let end = environment.clock.nowMilliseconds()
        _ = try? await WorkerPool.shared.run { [self] in
            work.withLock { work in
                _ = try? work.body.ingest(nil, .text, at: end, appender: environment.appender)
                work.report.end(at: end, appender: environment.appender)
            }
        }
    }

    private func scrape(at time: Int64) async {
        let begin = monotonicNanoseconds()
        var problem: String?
        var answer: ScrapeAnswer?
        do {
            if let failure = failure.withLock({ $0 }) { throw ScrapeFailure(description: failure) }
            answer = try await fetch()
        } catch {
            if Task.isCancelled { return }
            problem = "\(error)"
        }
        let (fetched, earlier) = (answer, problem)
        let seconds = Double(monotonicNanoseconds() - begin) / 1e9
        let result = try? await WorkerPool.shared.run { [self] in
            work.withLock { work in
                var problem = earlier
                var counts = ScrapeCounts()
                do {
                    counts = try ingest(fetched, &work.body, at: time)
                } catch {
                    problem = "\(error)"
                    if let failed = error as? FailedBody { counts = failed.counts }
                }
                let total = max(seconds, Double(monotonicNanoseconds() - begin) / 1e9)
                do {
                    try work.report.append(
                        up: problem == nil, seconds: total, counts: counts, at: time, appender: environment.appender)
                } catch {
                    problem = problem ?? "\(error)"
                }
                figures.count(counts, failed: problem != nil)
                return (problem, work.body.metadata)
            }
        }
        guard let (problem, metadata) = result else { return }
        let duration = Double(monotonicNanoseconds() - begin) / 1e9
        if let problem, let file = config.failureLog {
            environment.logFailure(file, config.jobName, redactURL(target.url), problem)
        }
        current.withLock { status in
            if let problem, problem != status.lastError {
                environment.log.debug(
                    "scrape failed", metadata: ["target": "\(redactURL(target.url))", "error": "\(problem)"])
            }
            status.health = problem == nil ? "up" : "down"
            status.lastError = problem ?? ""
            status.lastScrape = time
            status.lastDuration = duration
            status.metadata = metadata
        }
    }

    /// Inflates the answer where that is needed, and reads it into the store. Runs on a worker's thread.
    private func ingest(_ answer: ScrapeAnswer?, _ body: inout ScrapeBody, at time: Int64) throws -> ScrapeCounts {
        guard let answer else { return try body.ingest(nil, .text, at: time, appender: environment.appender) }
        guard answer.isCompressed else {
            return try answer.bytes.withUnsafeBytes {
                try body.ingest($0, answer.format, at: time, appender: environment.appender)
            }
        }
        return try BodyInflater.lend { inflater in
            let plain: UnsafeRawBufferPointer
            do throws(CompressionError) {
                plain = try inflater.inflate(answer.bytes, limit: bodyLimit)
            } catch {
                // As with any other answer that cannot be read: the series of the scrape before end.
                _ = try? body.ingest(nil, .text, at: time, appender: environment.appender)
                if error.isTooLarge { throw ScrapeFailure(description: "body size limit exceeded") }
                throw ScrapeFailure(description: "the answer cannot be inflated: \(error)")
            }
            return try body.ingest(plain, answer.format, at: time, appender: environment.appender)
        }
    }

    private var bodyLimit: Int { config.limits.bodyBytes > 0 ? config.limits.bodyBytes : 1 << 30 }

    private func fetch() async throws -> ScrapeAnswer {
        if target.url == "http://self/metrics" { return ScrapeAnswer(environment.ownMetrics(), .text) }
        var request = HTTPRequest("GET", target.url)
        request.timeout = .milliseconds(target.scrapeTimeout)
        request.connectTimeout = .milliseconds(target.scrapeTimeout)
        // Inflated by ourselves, on a worker's thread.
        request.decompress = false
        request.maxBodyBytes = bodyLimit
        let seconds = Double(target.scrapeTimeout) / 1000
        request.headers = [
            ("Accept", acceptHeader(config.scrapeProtocols)), ("User-Agent", environment.userAgent),
            ("X-Prometheus-Scrape-Timeout-Seconds", formatFloat(seconds)),
        ]
        request.headers.append(("Accept-Encoding", asksForCompression ? "gzip" : "identity"))
        let response: HTTPResponse
        do {
            response = try await environment.client.send(try await authorizer.prepare(request))
        } catch let error as HTTPError {
            switch error.kind {
            case .timeout:
                throw ScrapeFailure(description: "Get \"\(redactURL(target.url))\": context deadline exceeded")
            case .bodyTooLarge: throw ScrapeFailure(description: "body size limit exceeded")
            default:
                let url = redactURL(target.url)
                let detail =
                    error.message.hasPrefix(url + ": ") ? String(error.message.dropFirst(url.count + 2)) : error.message
                throw ScrapeFailure(description: "Get \"\(url)\": \(detail)")
            }
        }
        guard response.status == 200 else {
            throw ScrapeFailure(
                description: "server returned HTTP status \(response.status) \(reason(response.status))")
        }
        let type = response.header("content-type") ?? ""
        let encoding = response.header("content-encoding")?.lowercased() ?? "identity"
        guard encoding == "gzip" || encoding == "identity" || encoding.isEmpty else {
            throw ScrapeFailure(description: "the answer has the encoding \"\(encoding)\", which was not asked for")
        }
        func answer(_ format: ExpositionFormat) -> ScrapeAnswer {
            ScrapeAnswer(response.body, format, isCompressed: encoding == "gzip")
        }
        if let format = ExpositionFormat(contentType: type) { return answer(format) }
        switch config.fallbackProtocol {
        case .some(let name): return answer(name.hasPrefix("OpenMetrics") ? .openMetrics : .text)
        case nil:
            // As Prometheus 2 did: exporters that say nothing of their format are read as text.
            if type.isEmpty || type.hasPrefix("text/") { return answer(.text) }
            throw ScrapeFailure(
                description:
                    "received unsupported Content-Type \"\(type)\" and no fallback_scrape_protocol specified for target"
            )
        }
    }
}

/// What a target sent.
private struct ScrapeAnswer: Sendable {
    var bytes: [UInt8]
    var format: ExpositionFormat
    var isCompressed: Bool

    init(_ bytes: [UInt8], _ format: ExpositionFormat, isCompressed: Bool = false) {
        self.bytes = bytes
        self.format = format
        self.isCompressed = isCompressed
    }
}

/// Whether a URL's host is this machine by its very name.
func isLoopback(_ url: String) -> Bool {
    let parts = url.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: true)
    guard parts.count > 1 else { return false }
    let authority = parts[1].prefix { $0 != "?" }
    let host = authority.split(separator: "@").last ?? ""
    return host.hasPrefix("127.") || host.hasPrefix("[::1]") || host == "localhost" || host.hasPrefix("localhost:")
}

private func acceptHeader(_ protocols: [String]) -> String {
    var weight = protocols.count + 1
    var parts: [String] = []
    for name in protocols {
        let type: String
        switch name {
        case "OpenMetricsText1.0.0": type = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8"
        case "OpenMetricsText0.0.1": type = "application/openmetrics-text;version=0.0.1"
        case "PrometheusText1.0.0": type = "text/plain;version=1.0.0;escaping=allow-utf-8"
        case "PrometheusText0.0.4": type = "text/plain;version=0.0.4"
        default: continue
        }
        parts.append("\(type);q=0.\(weight)")
        weight -= 1
    }
    parts.append("*/*;q=0.\(max(1, weight))")
    return parts.joined(separator: ",")
}

private func reason(_ status: Int) -> String {
    let names = [
        204: "No Content", 301: "Moved Permanently", 302: "Found", 303: "See Other", 307: "Temporary Redirect",
        308: "Permanent Redirect", 405: "Method Not Allowed", 406: "Not Acceptable", 408: "Request Timeout",
        429: "Too Many Requests", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
        500: "Internal Server Error",
        502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
    ]
    return names[status] ?? ""
}

/// The same for the same text in every process, unlike Swift's own hashes (FNV-1a).
func stableHash(_ text: String) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0100_0000_01b3 }
    return hash
}

/// The first time from now on that is `offset` after a multiple of the interval.
func nextBeat(_ now: Int64, interval: Int64, offset: Int64) -> Int64 {
    let base = now - now % interval + offset
    return base >= now ? base : base + interval
}
