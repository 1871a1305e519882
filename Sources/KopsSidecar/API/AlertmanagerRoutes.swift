import FoundationEssentials
import MetricModel
package import Monitoring
package import Platform

/// Alertmanager's API v2, so that amtool, Grafana and another Prometheus can talk to the sidecar as to an Alertmanager.
package struct AlertmanagerRoutes: Sendable {
    private let service: NotificationService
    private let clock: WallClock
    private let startedAt: Int64

    package init(_ service: NotificationService, clock: WallClock) {
        self.service = service
        self.clock = clock
        startedAt = clock.nowMilliseconds()
    }

    package var routes: [Route] {
        [
            .get("/api/v2/alerts") { try alerts($0) },
            Route(["POST"], "/api/v2/alerts", changesState: true) { try await post($0) },
            .get("/api/v2/alerts/groups") { try groups($0) },
            .get("/api/v2/silences") { try silences($0) },
            Route(["POST"], "/api/v2/silences", changesState: true) { try await setSilence($0) },
            .get("/api/v2/silence/:id") { silence($0) },
            Route(["DELETE"], "/api/v2/silence/:id", changesState: true) { request in
                let id = request.pathValues.first ?? ""
                if let refusal = idProblem(id) { return refusal }
                let found = try await WorkerPool.blocking.run { service.expireSilence(id) }
                return found ? APIReply(200, "application/json", []) : .json(404) { $0.string("silence not found") }
            },
            .get("/api/v2/receivers") { _ in
                let names = service.read { $0.config.receivers.map(\.name) }
                return .json { writer in
                    writer.array(names) { writer, name in
                        writer.object {
                            $0.key("name")
                            $0.string(name)
                        }
                    }
                }
            },
            .get("/api/v2/status") { _ in status() },
        ]
    }

    // MARK: alerts

    private struct Filter {
        var matchers: [LabelMatcher] = []
        var active = true
        var silenced = true
        var inhibited = true
        var muted = true
        var receiver: LabelMatcher?

        func admits(_ view: AlertView) -> Bool {
            guard matchers.allSatisfy({ $0.matches(view.alert.labels[$0.name] ?? "") }) else { return false }
            if let receiver, !view.receivers.contains(where: receiver.matches) { return false }
            if !active, view.state == "active" { return false }
            if !silenced, !view.silencedBy.isEmpty { return false }
            if !inhibited, !view.inhibitedBy.isEmpty { return false }
            return muted || view.mutedBy.isEmpty
        }
    }

    private func filter(_ request: APIRequest) throws -> Filter {
        var filter = Filter()
        func flag(_ name: String, _ value: inout Bool) throws {
            guard let text = request.parameter(name), !text.isEmpty else { return }
            guard ["true", "false", "1", "0"].contains(text) else {
                throw AlertmanagerError(400, "\(name) must be true or false, not \"\(text)\"")
            }
            value = text == "true" || text == "1"
        }
        try flag("active", &filter.active)
        try flag("silenced", &filter.silenced)
        try flag("inhibited", &filter.inhibited)
        // Every alert's state is found when it is asked for, so that none is unprocessed.
        var unprocessed = true
        try flag("unprocessed", &unprocessed)
        try flag("muted", &filter.muted)
        filter.matchers = try matchers(request)
        if let pattern = request.parameter("receiver"), !pattern.isEmpty {
            do {
                filter.receiver = try LabelMatcher("receiver", .regex, pattern)
            } catch {
                throw AlertmanagerError(400, "failed to parse receiver param: \(error)")
            }
        }
        return filter
    }

    private func matchers(_ request: APIRequest) throws -> [LabelMatcher] {
        do {
            return try (request.parameters("filter") + request.parameters("filter[]")).flatMap(MatcherSyntax.parse)
        } catch {
            throw AlertmanagerError(400, "bad matcher format: \(error)")
        }
    }

    private func alerts(_ request: APIRequest) throws -> APIReply {
        try answering {
            let filter = try filter(request)
            let now = clock.nowMilliseconds()
            let views = service.read { $0.alertViews(now: now) }.filter(filter.admits)
            return .json { $0.array(views, write) }
        }
    }

    private func groups(_ request: APIRequest) throws -> APIReply {
        try answering {
            let filter = try filter(request)
            let now = clock.nowMilliseconds()
            let groups = service.read { $0.groupViews(now: now) }.compactMap { group -> AlertGroupView? in
                var group = group
                group.alerts = group.alerts.filter(filter.admits)
                if let receiver = filter.receiver, !receiver.matches(group.receiver) { return nil }
                return group.alerts.isEmpty ? nil : group
            }
            return .json { writer in
                writer.array(groups) { writer, group in
                    writer.object { writer in
                        writer.key("alerts")
                        writer.array(group.alerts, write)
                        writer.key("labels")
                        writer.labels(group.labels)
                        writer.key("receiver")
                        writer.object {
                            $0.key("name")
                            $0.string(group.receiver)
                        }
                    }
                }
            }
        }
    }

    private func write(_ writer: inout JSONWriter, _ view: AlertView) {
        writer.object { writer in
            writer.key("annotations")
            writer.labels(view.alert.annotations)
            writer.key("endsAt")
            writer.string(formatRFC3339(view.alert.endsAt))
            writer.key("fingerprint")
            writer.string(fingerprintText(view.alert.fingerprint))
            writer.key("receivers")
            writer.array(view.receivers) { writer, name in
                writer.object {
                    $0.key("name")
                    $0.string(name)
                }
            }
            writer.key("startsAt")
            writer.string(formatRFC3339(view.alert.startsAt))
            writer.key("status")
            writer.object { writer in
                writer.key("inhibitedBy")
                writer.strings(view.inhibitedBy)
                writer.key("mutedBy")
                writer.strings(view.mutedBy)
                writer.key("silencedBy")
                writer.strings(view.silencedBy)
                writer.key("state")
                writer.string(view.state)
            }
            writer.key("updatedAt")
            writer.string(formatRFC3339(view.alert.updatedAt))
            if !view.alert.generatorURL.isEmpty {
                writer.key("generatorURL")
                writer.string(view.alert.generatorURL)
            }
            writer.key("labels")
            writer.labels(view.alert.labels)
        }
    }

    private struct AlertBody: Decodable {
        var labels: [String: String]
        var annotations: [String: String]?
        var startsAt: String?
        var endsAt: String?
        var generatorURL: String?
    }

    private func post(_ request: APIRequest) async throws -> APIReply {
        try await answering {
            let bodies = try decode([AlertBody].self, request)
            var posted: [PostedAlert] = []
            var refusals: [String] = []
            for body in bodies {
                // An empty value is the same as no label.
                let labels = Labels(body.labels.filter { !$0.value.isEmpty }.map { ($0.key, $0.value) })
                var start = try time(body.startsAt)
                let end = try time(body.endsAt)
                if start == 0 { start = end == 0 ? clock.nowMilliseconds() : end }
                if body.labels.contains(where: { $0.key.isEmpty && !$0.value.isEmpty }) {
                    refusals.append("invalid label set: invalid name \"\"")
                    continue
                }
                if labels.isEmpty {
                    refusals.append("at least one label pair required")
                    continue
                }
                if end > 0, end < start {
                    refusals.append("start time must be before end time")
                    continue
                }
                posted.append(
                    PostedAlert(
                        labels: labels, annotations: Labels((body.annotations ?? [:]).map { ($0.key, $0.value) }),
                        startsAt: start, endsAt: end, generatorURL: body.generatorURL ?? ""))
            }
            // The good ones among them count.
            try await WorkerPool.blocking.run { [posted] in service.post(posted) }
            if !refusals.isEmpty { throw AlertmanagerError(400, refusals.joined(separator: "; ")) }
            return APIReply(200, "application/json", [])
        }
    }

    /// 0 for none, which Go's clients write as the year 1.
    private func time(_ text: String?) throws -> Int64 {
        guard let text, !text.isEmpty, !text.hasPrefix("0001-") else { return 0 }
        guard let time = parseRFC3339(text) else { throw AlertmanagerError(400, "\"\(text)\" is no RFC 3339 time") }
        return time
    }

    // MARK: silences

    private func silences(_ request: APIRequest) throws -> APIReply {
        try answering {
            let wanted = try matchers(request)
            let now = clock.nowMilliseconds()
            let list = service.read { $0.silenceList(now: now) }.filter { silence in
                // A silence is asked for by what its matchers say of a label.
                wanted.allSatisfy { filter in
                    silence.matchers.contains { $0.name == filter.name && filter.matches($0.value) }
                        || (!silence.matchers.contains { $0.name == filter.name } && filter.matches(""))
                }
            }
            return .json { $0.array(list) { write(&$0, $1, now) } }
        }
    }

    private func silence(_ request: APIRequest) -> APIReply {
        let now = clock.nowMilliseconds()
        if let refusal = idProblem(request.pathValues.first ?? "") { return refusal }
        guard let silence = service.read({ $0.silence(request.pathValues.first ?? "") }) else {
            return APIReply(404, "application/json", [])
        }
        return .json { write(&$0, silence, now) }
    }

    private func write(_ writer: inout JSONWriter, _ silence: Silence, _ now: Int64) {
        writer.object { writer in
            writer.key("id")
            writer.string(silence.id)
            writer.key("status")
            writer.object {
                $0.key("state")
                $0.string(silence.state(at: now).rawValue)
            }
            let texts = [
                ("updatedAt", formatRFC3339(silence.updatedAt)), ("comment", silence.comment),
                ("createdBy", silence.createdBy), ("endsAt", formatRFC3339(silence.endsAt)),
            ]
            for (name, text) in texts {
                writer.key(name)
                writer.string(text)
            }
            writer.key("matchers")
            writer.array(silence.matchers) { writer, matcher in
                writer.object { writer in
                    writer.key("isEqual")
                    writer.bool(matcher.op == .equal || matcher.op == .regex)
                    writer.key("isRegex")
                    writer.bool(matcher.op == .regex || matcher.op == .notRegex)
                    writer.key("name")
                    writer.string(matcher.name)
                    writer.key("value")
                    writer.string(matcher.value)
                }
            }
            writer.key("startsAt")
            writer.string(formatRFC3339(silence.startsAt))
        }
    }

    private struct SilenceBody: Decodable {
        struct Matcher: Decodable {
            var name: String?
            var value: String?
            var isRegex: Bool?
            var isEqual: Bool?
        }

        var id: String?
        var matchers: [Matcher]?
        var startsAt: String?
        var endsAt: String?
        var createdBy: String?
        var comment: String?

        /// What the API's schema asks for and this lacks.
        var missing: String? {
            let given = [
                ("comment", comment != nil), ("createdBy", createdBy != nil), ("endsAt", endsAt != nil),
                ("matchers", matchers != nil), ("startsAt", startsAt != nil),
            ]
            if let first = given.first(where: { !$0.1 }) { return first.0 }
            for (i, matcher) in (matchers ?? []).enumerated() {
                let given = [
                    ("isRegex", matcher.isRegex != nil), ("name", matcher.name != nil), ("value", matcher.value != nil),
                ]
                if let first = given.first(where: { !$0.1 }) { return "matchers.\(i).\(first.0)" }
            }
            return nil
        }
    }

    private func setSilence(_ request: APIRequest) async throws -> APIReply {
        try await answering {
            let body = try decode(SilenceBody.self, request)
            if let missing = body.missing { return schemaRefusal(602, "\(missing) in body is required") }
            guard let given = body.matchers, !given.isEmpty else {
                return schemaRefusal(612, "matchers in body should have at least 1 items")
            }
            let matchers = try given.enumerated().map { index, matcher in
                let equal = matcher.isEqual ?? true
                let regex = matcher.isRegex ?? false
                let op: MatchOperator = regex ? (equal ? .regex : .notRegex) : (equal ? .equal : .notEqual)
                guard let name = matcher.name, !name.isEmpty else {
                    throw AlertmanagerError(
                        400, "invalid silence: invalid label matcher \(index): invalid label name \"\"")
                }
                do {
                    return try LabelMatcher(name, op, matcher.value ?? "")
                } catch {
                    throw AlertmanagerError(400, "invalid silence: invalid label matcher \(index): \(error)")
                }
            }
            let silence = Silence(
                id: body.id ?? "", matchers: matchers, startsAt: try time(body.startsAt), endsAt: try time(body.endsAt),
                createdBy: body.createdBy ?? "", comment: body.comment ?? "")
            let result = try await WorkerPool.blocking.run { () -> Result<String, SilenceError> in
                do throws(SilenceError) {
                    return .success(try service.setSilence(silence))
                } catch {
                    return .failure(error)
                }
            }
            switch result {
            case .success(let id):
                return .json { writer in
                    writer.object {
                        $0.key("silenceID")
                        $0.string(id)
                    }
                }
            case .failure(let error): throw AlertmanagerError(error.status, error.description)
            }
        }
    }

    private func status() -> APIReply {
        let original = service.read(\.config.original)
        return .json { writer in
            writer.object { writer in
                writer.key("cluster")
                writer.object {
                    $0.key("peers")
                    $0.array([Int]()) { _, _ in }
                    $0.key("status")
                    $0.string("disabled")
                }
                writer.key("config")
                writer.object {
                    $0.key("original")
                    $0.string(original)
                }
                writer.key("uptime")
                writer.string(formatRFC3339(startedAt))
                writer.key("versionInfo")
                writer.object { writer in
                    // amtool shows it; it is the Alertmanager whose API this is.
                    let fields = [
                        ("branch", "kops-sidecar"), ("buildDate", ""), ("buildUser", ""), ("goVersion", ""),
                        ("revision", productVersion), ("version", "0.28.0"),
                    ]
                    for (name, text) in fields {
                        writer.key(name)
                        writer.string(text)
                    }
                }
            }
        }
    }

    // MARK: helpers

    private func decode<T: Decodable>(_ type: T.Type, _ request: APIRequest) throws -> T {
        let type = request.header("content-type").map { $0.prefix { $0 != ";" }.lowercased() } ?? "application/json"
        guard type == "application/json" else {
            throw AlertmanagerError(
                415, "unsupported media type \"\(type)\", only [application/json] are allowed", isObject: true)
        }
        if request.body.isEmpty { throw AlertmanagerError(422, "body is required", isObject: true, code: 602) }
        do {
            return try JSONDecoder().decode(T.self, from: Data(request.body))
        } catch let error as DecodingError {
            throw Self.refusal(error)
        } catch {
            throw AlertmanagerError(400, "the body cannot be read", isObject: true)
        }
    }

    /// What a body's reader found, in words: where, and what was expected there.
    private static func refusal(_ error: DecodingError) -> AlertmanagerError {
        func place(_ path: [any CodingKey]) -> String {
            path.isEmpty
                ? "body"
                : path.map { $0.intValue.map(String.init) ?? $0.stringValue }.joined(separator: ".") + " in body"
        }
        switch error {
        case .keyNotFound(let key, let context):
            return AlertmanagerError(
                422, "\(place(context.codingPath + [key])) is required", isObject: true, code: 602)
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            return AlertmanagerError(400, "\(place(context.codingPath)) is of the wrong type", isObject: true)
        default: return AlertmanagerError(400, "the body is not valid JSON", isObject: true)
        }
    }

    /// Alertmanager's way of refusing: the status and a JSON text.
    /// How Alertmanager refuses what its API's schema does not allow.
    private func schemaRefusal(_ code: Int, _ message: String) -> APIReply {
        AlertmanagerError(422, message, isObject: true, code: code).reply
    }

    private func idProblem(_ id: String) -> APIReply? {
        let lengths = id.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        let isHex = id.utf8.allSatisfy { ($0 >= 48 && $0 <= 57) || ($0 | 32 >= 97 && $0 | 32 <= 102) || $0 == 45 }
        if isHex, lengths.map(\.count) == [8, 4, 4, 4, 12] { return nil }
        return schemaRefusal(601, "silenceID in path must be of type uuid: \"\(id)\"")
    }

    private func answering(_ body: () throws -> APIReply) throws -> APIReply {
        do { return try body() } catch let error as AlertmanagerError { return error.reply }
    }

    private func answering(_ body: () async throws -> APIReply) async throws -> APIReply {
        do { return try await body() } catch let error as AlertmanagerError { return error.reply }
    }
}

private struct AlertmanagerError: Error {
    let status: Int
    let message: String
    /// What stands in the answer as the code of an object; nil for a bare text.
    let code: Int?

    init(_ status: Int, _ message: String, isObject: Bool = false, code: Int? = nil) {
        self.status = status
        self.message = message
        self.code = code ?? (isObject ? status : nil)
    }

    var reply: APIReply {
        .json(status) { writer in
            guard let code else { return writer.string(message) }
            writer.object {
                $0.key("code")
                $0.int(code)
                $0.key("message")
                $0.string(message)
            }
        }
    }
}
