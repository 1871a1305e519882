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
            throw APIError.parameter("type", "not supported value \(quoteLabelValue(type))")
        }
        let excludeAlerts = request.parameter("exclude_alerts") == "true"
        let names = Set(request.parameters("rule_name[]"))
        let groupNames = Set(request.parameters("rule_group[]"))
        let files = Set(request.parameters("file[]"))
        let matcherSets = try request.parameters("match[]").map(parseMatchers)
        var groups: [RuleGroupStatus] = []
        for var group in status() {
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
        return .success { [groups] writer in
            writer.object { writer in
                writer.key("groups")
                writer.array(groups) { writer, group in write(&writer, group, excludeAlerts: excludeAlerts) }
            }
        }
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
