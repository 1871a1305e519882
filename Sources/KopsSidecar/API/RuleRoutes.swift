import MetricModel
package import Monitoring
import Platform
import PromQL

/// `rules` and `alerts`.
package struct RuleRoutes: Sendable {
    private let status: @Sendable () -> [RuleGroupStatus]

    package init(_ status: @escaping @Sendable () -> [RuleGroupStatus]) { self.status = status }

    package var routes: [Route] {
        [
            .get("/api/v1/rules") { try rules($0) },
            .get("/api/v1/alerts") { _ in alerts() },
        ]
    }

    private func alerts() -> APIReply {
        let alerts = status().flatMap(\.rules).flatMap(\.alerts)
        return .success { writer in
            writer.object {
                $0.key("alerts")
                $0.array(alerts, write)
            }
        }
    }

    private func rules(_ request: APIRequest) throws -> APIReply {
        let type = request.parameter("type")?.lowercased() ?? ""
        guard ["", "alert", "record"].contains(type) else {
            throw APIError.parameter("type", "not supported value \(quoteGo(type))")
        }
        let excludeAlerts = try boolean(request, "exclude_alerts")
        let page = try RulePage(request)
        let names = Set(request.parameters("rule_name[]"))
        let groupNames = Set(request.parameters("rule_group[]"))
        let files = Set(request.parameters("file[]"))
        let matcherSets = try request.parameters("match[]").map(parseMatchers)
        var groups: [RuleGroupStatus] = []
        var isBeforePage = page.start != nil
        for var group in status() {
            if isBeforePage {
                if RulePage.token(group.definition) != page.start { continue }
                isBeforePage = false
            }
            guard groupNames.isEmpty || groupNames.contains(group.definition.name),
                files.isEmpty || files.contains(group.definition.file)
            else { continue }
            let before = group.rules.count
            group.rules = group.rules.filter { rule in
                (names.isEmpty || names.contains(rule.definition.name))
                    && (type.isEmpty || rule.definition.isAlert == (type == "alert"))
                    && (matcherSets.isEmpty
                        || matcherSets.contains { set in
                            set.allSatisfy { $0.matches(rule.definition.labels[$0.name] ?? "") }
                        })
            }
            if group.rules.isEmpty && before > 0 { continue }
            groups.append(group)
        }
        if isBeforePage, let token = page.start {
            throw APIError.parameter(
                "group_next_token", "invalid group_next_token '\(token)'. were rule groups changed?")
        }
        var next: String?
        if let limit = page.limit, groups.count > limit {
            next = RulePage.token(groups[limit].definition)
            groups.removeSubrange(limit...)
        }
        return .success { [groups, next] writer in
            writer.object { writer in
                writer.key("groups")
                writer.array(groups) { writer, group in write(&writer, group, excludeAlerts: excludeAlerts) }
                if let next {
                    writer.key("groupNextToken")
                    writer.string(next)
                }
            }
        }
    }

    /// What Go's ParseBool takes; false where the parameter is missing.
    private func boolean(_ request: APIRequest, _ name: String) throws(APIError) -> Bool {
        guard let text = request.parameter(name), !text.isEmpty else { return false }
        if ["1", "t", "T", "TRUE", "true", "True"].contains(text) { return true }
        if ["0", "f", "F", "FALSE", "false", "False"].contains(text) { return false }
        throw APIError.parameter(
            name, "error converting \(name): strconv.ParseBool: parsing \(quoteGo(text)): invalid syntax")
    }

    private func write(_ writer: inout JSONWriter, _ group: RuleGroupStatus, excludeAlerts: Bool) {
        writer.object { writer in
            writer.key("name")
            writer.string(group.definition.name)
            writer.key("file")
            writer.string(group.definition.file)
            writer.key("rules")
            writer.array(group.rules) { writer, rule in write(&writer, rule, excludeAlerts: excludeAlerts) }
            writer.key("interval")
            writer.double(Double(group.definition.interval) / 1000)
            writer.key("limit")
            writer.int(group.definition.limit)
            writer.key("evaluationTime")
            writer.double(group.evaluationTime)
            writer.key("lastEvaluation")
            writer.string(group.lastEvaluation == 0 ? zeroTime : formatRFC3339(group.lastEvaluation))
        }
    }

    private func write(_ writer: inout JSONWriter, _ rule: RuleStatus, excludeAlerts: Bool) {
        writer.object { writer in
            if case .alert(let hold, let keep, let annotations) = rule.definition.kind {
                writer.key("state")
                writer.string(rule.health == "unknown" ? "unknown" : rule.state.rawValue)
                writer.key("name")
                writer.string(rule.definition.name)
                writer.key("query")
                writer.string(rule.definition.expr.description)
                writer.key("duration")
                writer.double(Double(hold) / 1000)
                writer.key("keepFiringFor")
                writer.double(Double(keep) / 1000)
                writer.key("labels")
                writer.labels(rule.definition.labels)
                writer.key("annotations")
                writer.labels(annotations)
                writer.key("alerts")
                writer.array(excludeAlerts ? [] : rule.alerts, write)
            } else {
                writer.key("name")
                writer.string(rule.definition.name)
                writer.key("query")
                writer.string(rule.definition.expr.description)
                if !rule.definition.labels.isEmpty {
                    writer.key("labels")
                    writer.labels(rule.definition.labels)
                }
            }
            writer.key("health")
            writer.string(rule.health)
            if !rule.lastError.isEmpty {
                writer.key("lastError")
                writer.string(rule.lastError)
            }
            writer.key("evaluationTime")
            writer.double(rule.evaluationTime)
            writer.key("lastEvaluation")
            writer.string(rule.lastEvaluation == 0 ? zeroTime : formatRFC3339(rule.lastEvaluation))
            writer.key("type")
            writer.string(rule.definition.isAlert ? "alerting" : "recording")
        }
    }

    private func write(_ writer: inout JSONWriter, _ alert: ActiveAlert) {
        writer.object { writer in
            writer.key("labels")
            writer.labels(alert.labels)
            writer.key("annotations")
            writer.labels(alert.annotations)
            writer.key("state")
            writer.string(alert.state.rawValue)
            writer.key("activeAt")
            writer.string(formatRFC3339(alert.activeAt))
            if alert.keepFiringSince != 0 {
                writer.key("keepFiringSince")
                writer.string(formatRFC3339(alert.keepFiringSince))
            }
            writer.key("value")
            writer.string(scientific(alert.value))
        }
    }
}

/// `group_limit` and `group_next_token`: how many groups are wanted, and the first of them where it is not the first of all.
private struct RulePage {
    let limit: Int?
    let start: String?

    init(_ request: APIRequest) throws(APIError) {
        let token = request.parameter("group_next_token") ?? ""
        guard let text = request.parameter("group_limit"), !text.isEmpty else {
            if !token.isEmpty {
                throw APIError.parameter(
                    "group_next_token", "group_limit needs to be present in order to paginate over the groups")
            }
            (limit, start) = (nil, nil)
            return
        }
        guard let number = Int(text) else {
            throw APIError.parameter(
                "group_limit",
                "group_limit needs to be a valid number: strconv.ParseInt: parsing \(quoteGo(text)): invalid syntax"
            )
        }
        guard number > 0 else { throw APIError.parameter("group_limit", "group_limit needs to be greater than 0") }
        (limit, start) = (number, token.isEmpty ? nil : token)
    }

    /// A text that names a group, the same as long as it is in the same file.
    static func token(_ group: RuleGroupDefinition) -> String {
        hexadecimal(Digest.hash(.sha1, Array((group.file + ";" + group.name).utf8)))
    }
}

/// `up{job="a"}` or `{job="a"}` as matchers.
func parseMatchers(_ text: String) throws(APIError) -> [LabelMatcher] {
    do {
        return try parseMetricSelector(text)
    } catch {
        throw APIError(.badData, "\(error)")
    }
}

/// The shortest digits with an exponent of at least two: how Prometheus writes an alert's value, `1.5e+00`.
func scientific(_ value: Double) -> String {
    guard value.isFinite else { return formatFloat(value) }
    if value == 0 { return value.sign == .minus ? "-0e+00" : "0e+00" }
    // Swift prints the shortest digits too, in a layout of its own.
    let text = "\(abs(value))".lowercased()
    let parts = text.split(separator: "e", maxSplits: 1)
    var exponent = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
    let mantissa = parts.first ?? "0"
    let whole = mantissa.prefix { $0 != "." }
    var digits = Array((whole + mantissa.dropFirst(whole.count + 1)).utf8)
    exponent += whole.utf8.count - 1
    while digits.count > 1, digits.first == UInt8(ascii: "0") {
        digits.removeFirst()
        exponent -= 1
    }
    while digits.count > 1, digits.last == UInt8(ascii: "0") { digits.removeLast() }
    var out = value < 0 ? "-" : ""
    out += String(decoding: digits.prefix(1), as: UTF8.self)
    if digits.count > 1 { out += "." + String(decoding: digits.dropFirst(), as: UTF8.self) }
    out += exponent < 0 ? "e-" : "e+"
    let magnitude = String(abs(exponent))
    return out + (magnitude.count < 2 ? "0" : "") + magnitude
}
