package import Logging
package import Platform

/// One path of the API and what answers it.
package struct Route: Sendable {
    package typealias Handler = @Sendable (APIRequest) async throws -> APIReply

    package let methods: [String]
    /// Segments; one that begins with a colon stands for any text.
    package let segments: [String]
    /// The path as metrics name it.
    let name: String
    /// Whether it changes anything: then requests from other sites are refused.
    package let changesState: Bool
    package let handler: Handler

    package init(_ methods: [String], _ path: String, changesState: Bool = false, _ handler: @escaping Handler) {
        self.methods = methods
        segments = path.split(separator: "/", omittingEmptySubsequences: true).map(String.init)
        name = "/" + segments.joined(separator: "/")
        self.changesState = changesState
        self.handler = handler
    }

    package static func get(_ path: String, _ handler: @escaping Handler) -> Route { Route(["GET"], path, handler) }

    /// A reading endpoint that also takes its parameters as a POSTed form.
    package static func query(_ path: String, _ handler: @escaping Handler) -> Route {
        Route(["GET", "POST"], path, handler)
    }

    /// The texts that stand for the variable segments, nil where the path is another.
    func match(_ path: [String]) -> [String]? {
        guard path.count == segments.count else { return nil }
        var values: [String] = []
        for (segment, text) in zip(segments, path) {
            if segment.hasPrefix(":") {
                values.append(text)
            } else if segment != text {
                return nil
            }
        }
        return values
    }
}

/// Finds the route of a request and turns what handlers throw into answers. Thread-safe.
package struct RouteTable: Sendable {
    private typealias Candidate = (index: Int, values: [String])

    private let routes: [Route]
    private let access: WebAccess
    private let log: Logger
    let metrics: MetricRegistry
    private let instruments: Instruments
    /// By path without variable segments: the routes that it may be, found once.
    private let plain: [String: [Candidate]]
    private let changed: @Sendable (APIRequest, Int) -> Void

    /// `changed` is told of each request that may have changed something, with its answer's status.
    package init(
        _ routes: [Route], access: WebAccess, metrics: MetricRegistry, log: Logger,
        changed: @escaping @Sendable (APIRequest, Int) -> Void = { _, _ in }
    ) {
        self.changed = changed
        self.routes = routes
        self.access = access
        self.log = log
        self.metrics = metrics
        instruments = Instruments(metrics)
        var plain: [String: [Candidate]] = [:]
        for route in routes where !route.segments.contains(where: { $0.hasPrefix(":") }) {
            plain[route.name] = routes.indices.compactMap { index in
                routes[index].match(route.segments).map { (index, $0) }
            }
        }
        self.plain = plain
    }

    package func answer(_ request: APIRequest) async -> APIReply {
        let start = monotonicNanoseconds()
        let security = access.security
        let (reply, handler) = await route(request, security)
        instruments.observe(handler, reply.status, seconds: Double(monotonicNanoseconds() - start) / 1e9)
        return security.decorate(reply, for: request)
    }

    private func route(
        _ request: APIRequest, _ security: RequestSecurity
    ) async -> (reply: APIReply, handler: String) {
        guard let candidates = candidates(request.path) else { return (.text(400, "400 bad path\n"), "none") }
        var allowed: [String] = []
        for (index, values) in candidates {
            let route = routes[index]
            let method = request.method == "HEAD" ? "GET" : request.method
            guard route.methods.contains(method) else {
                allowed += route.methods
                continue
            }
            if let refusal = await security.refusal(of: request, changesState: route.changesState) {
                if route.changesState { changed(request, refusal.status) }
                return (refusal, route.name)
            }
            var request = request
            request.pathValues = values
            let reply = await handled(request, by: route)
            if route.changesState { changed(request, reply.status) }
            return (reply, route.name)
        }
        if !allowed.isEmpty {
            if request.method == "OPTIONS" {
                if let refusal = await security.refusal(of: request, changesState: false) {
                    return (refusal, "options")
                }
                return (APIReply(204, "text/plain", []), "options")
            }
            var reply = APIReply.text(405, "Method Not Allowed\n")
            var methods: [String] = []
            for method in allowed + ["OPTIONS"] where !methods.contains(method) { methods.append(method) }
            reply.headers.append(("Allow", methods.joined(separator: ", ")))
            return (reply, "none")
        }
        return (.text(404, "404 page not found\n"), "none")
    }

    /// The routes of a path, with what stands for their variable segments; nil where the path cannot be decoded.
    private func candidates(_ path: String) -> [Candidate]? {
        if let known = plain[path] { return known }
        var segments: [String] = []
        for segment in path.utf8.split(separator: UInt8(ascii: "/")) {
            guard let text = try? percentDecoded(segment, plusIsBlank: false) else { return nil }
            segments.append(text)
        }
        return routes.indices.compactMap { index in routes[index].match(segments).map { (index, $0) } }
    }

    private func handled(_ request: APIRequest, by route: Route) async -> APIReply {
        do {
            return try await route.handler(request)
        } catch let error as APIError {
            return error.reply
        } catch let error as WorkerPoolError {
            return APIError(.unavailable, error.description).reply
        } catch {
            log.error("request failed", metadata: ["path": "\(request.path)", "error": "\(error)"])
            return APIError(.internalError, "\(error)").reply
        }
    }
}

/// The instruments of requests, found once for each handler and status. Thread-safe.
private final class Instruments: Sendable {
    private struct Key: Hashable, Sendable {
        var handler: String
        var status: Int
    }

    private let metrics: MetricRegistry
    private let known = Lock<[Key: (requests: Counter, durations: Histogram)]>([:])

    init(_ metrics: MetricRegistry) { self.metrics = metrics }

    func observe(_ handler: String, _ status: Int, seconds: Double) {
        let (requests, durations) = known.withLock { known in
            let key = Key(handler: handler, status: status)
            if let found = known[key] { return found }
            let made = (
                metrics.counter(
                    "kops_http_requests_total", "Requests answered, by handler and status.",
                    labels: [("handler", handler), ("code", String(status))]),
                metrics.histogram(
                    "kops_http_request_duration_seconds", "Time from a request to its answer.",
                    labels: [("handler", handler)], bounds: [0.005, 0.05, 0.25, 1, 5, 30])
            )
            known[key] = made
            return made
        }
        requests.add()
        durations.observe(seconds)
    }
}
