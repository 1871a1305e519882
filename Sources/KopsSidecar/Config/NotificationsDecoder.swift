import MetricModel
package import Monitoring
import Platform

/// Notifications as configured: the routes and receivers, and the templates that their texts use.
package struct NotificationsConfig: Sendable {
    package var alertmanager: AlertmanagerConfig
    package var templates: NotificationTemplates
}

/// Reads an Alertmanager configuration, its defaults filled in and its references checked; nil where it cannot be used, which
/// `issues` tells.
package func decodeNotifications(_ section: ConfigSection) -> NotificationsConfig? {
    let issues = section.issues
    let before = issues.all.count
    let global = section.section("global")
    let defaults = NotificationDefaults(global)
    guard let routeSection = section.section("route") else {
        if !section.has("route") {
            issues.add(section.node, "no route is given: say under route which receiver gets what")
        }
        for key in otherNotificationKeys { _ = section.has(key) }
        section.finish()
        return nil
    }
    var config = AlertmanagerConfig(route: decodeRoute(routeSection, isRoot: true))
    config.resolveTimeout = global?.duration("resolve_timeout") ?? config.resolveTimeout
    var names: Set<String> = []
    for receiver in section.sections("receivers") {
        let decoded = decodeReceiver(receiver, defaults)
        if !names.insert(decoded.name).inserted {
            issues.add(receiver.node("name") ?? receiver.node, "receiver \"\(decoded.name)\" is there twice")
        }
        config.receivers.append(decoded)
    }
    config.inhibitRules = section.sections("inhibit_rules").map(decodeInhibitRule)
    for key in ["mute_time_intervals", "time_intervals"] {
        for interval in section.sections(key) {
            let named = decodeNamedWindows(interval)
            if config.timeIntervals.contains(where: { $0.name == named.name }) {
                issues.add(interval.node, "time interval \"\(named.name)\" is there twice")
            }
            config.timeIntervals.append(named)
        }
    }
    config.silenceExpiryNote = section.duration("silence_expiry_note")
    let intervals = Set(config.timeIntervals.map(\.name))
    // Without a readable list of receivers every name would be told to be unknown.
    if section.node("receivers")?.sequence != nil || !section.has("receivers") {
        checkReferences(routeSection, receivers: names, intervals: intervals)
    }
    var templates: NotificationTemplates?
    var texts: [(name: String, text: String)] = []
    for pattern in section.strings("templates") ?? [] {
        let resolved = resolvePath(pattern, relativeTo: section.node.file)
        config.templates.append(resolved)
        for file in FileSystem.glob(resolved) {
            do {
                texts.append((FileSystem.name(of: file), try FileSystem.readText(file, maxBytes: 4 << 20)))
            } catch {
                issues.add(section.node("templates") ?? section.node, "template file \(file): \(error)")
            }
        }
    }
    do {
        templates = try NotificationTemplates(texts)
    } catch {
        issues.add(section.node("templates") ?? section.node, "templates: \(error)")
    }
    if let templates { checkTexts(section, config, templates) }
    if let problem = templates?.endless() {
        issues.add(section.node("templates") ?? section.node, "templates: \(problem)")
    }
    section.refuse("tracing", "this program sends no traces")
    section.refuse("event_recorder", "events are in the log")
    defaults.finish()
    section.finish()
    guard issues.all.count == before, let templates else { return nil }
    return NotificationsConfig(alertmanager: config, templates: templates)
}

/// What stands beside `route`.
private let otherNotificationKeys = [
    "receivers", "inhibit_rules", "mute_time_intervals", "time_intervals", "silence_expiry_note", "templates",
    "tracing",
    "event_recorder",
]

private func checkReferences(_ route: ConfigSection, receivers: Set<String>, intervals: Set<String>) {
    if let name = route.string("receiver"), !name.isEmpty, !receivers.contains(name), let at = route.node("receiver") {
        route.issues.add(at, "undefined receiver \"\(name)\" used in route" + didYouMean(name, receivers.sorted()))
    }
    for key in ["mute_time_intervals", "active_time_intervals"] {
        for name in route.strings(key) ?? [] where !intervals.contains(name) {
            if let at = route.node(key) {
                route.issues.add(
                    at, "undefined time interval \"\(name)\" used in route" + didYouMean(name, intervals.sorted()))
            }
        }
    }
    for child in route.sections("routes") { checkReferences(child, receivers: receivers, intervals: intervals) }
}

private func checkTexts(_ section: ConfigSection, _ config: AlertmanagerConfig, _ templates: NotificationTemplates) {
    for (receiver, node) in zip(config.receivers, section.nodes("receivers")) {
        for integration in receiver.integrations {
            for (key, value) in integration.options.sorted(by: { $0.key < $1.key }) {
                check(value, "\(receiver.name): \(integration.kind.rawValue) \(key)", node)
            }
        }
    }
    func check(_ value: OptionValue, _ name: String, _ node: ConfigNode) {
        switch value {
        case .text(let text):
            do { try templates.check(text, name: name) } catch { section.issues.add(node, "\(error)") }
        case .list(let items): for item in items { check(item, name, node) }
        case .map(let entries): for entry in entries { check(entry.value, name, node) }
        default: break
        }
    }
}

// MARK: routes

private func decodeRoute(_ section: ConfigSection, isRoot: Bool) -> RouteConfig {
    let issues = section.issues
    var route = RouteConfig()
    route.receiver = section.string("receiver").flatMap { $0.isEmpty ? nil : $0 }
    if let names = section.strings("group_by") {
        route.groupByAll = names.contains("...")
        if route.groupByAll, names.count > 1, let at = section.node("group_by") {
            issues.add(at, "group_by: \"...\" groups by all labels and stands alone")
        }
        if Set(names).count != names.count, let at = section.node("group_by") {
            issues.add(at, "duplicated label in group_by")
        }
        if names.contains(""), let at = section.node("group_by") {
            issues.add(at, "group_by: a label name must not be empty")
        }
        // An empty list inherits, as for Alertmanager.
        if !route.groupByAll, !names.isEmpty { route.groupBy = names }
    }
    route.groupWait = section.duration("group_wait")
    route.groupInterval = section.duration("group_interval")
    route.repeatInterval = section.duration("repeat_interval")
    for (key, value) in [("group_interval", route.groupInterval), ("repeat_interval", route.repeatInterval)] {
        if value == 0, let at = section.node(key) { issues.add(at, "\(key) cannot be zero") }
    }
    route.matchers =
        decodeMatchers(section, "matchers") + decodeOldMatchers(section, "match", .equal)
        + decodeOldMatchers(section, "match_re", .regex)
    route.continues = section.bool("continue") ?? false
    route.muteTimeIntervals = section.strings("mute_time_intervals") ?? []
    route.activeTimeIntervals = section.strings("active_time_intervals") ?? []
    route.routes = section.sections("routes").map { decodeRoute($0, isRoot: false) }
    if isRoot {
        if route.receiver == nil { issues.add(section.node, "the root route must name a receiver") }
        if !route.matchers.isEmpty { issues.add(section.node, "the root route must not have any matchers") }
        for key in ["mute_time_intervals", "active_time_intervals"] where section.has(key) {
            issues.add(section.node(key) ?? section.node, "the root route must not have any \(key)")
        }
        if route.continues { issues.add(section.node, "the root route cannot have continue") }
    }
    section.finish()
    return route
}

/// `matchers:` a list of texts such as `severity=~"a|b"`, or one text with several.
private func decodeMatchers(_ section: ConfigSection, _ key: String) -> [LabelMatcher] {
    var out: [LabelMatcher] = []
    for text in section.strings(key) ?? [] {
        do {
            out += try MatcherSyntax.parse(text)
        } catch {
            section.issues.add(section.node(key) ?? section.node, "\(key): \(error)")
        }
    }
    return out
}

private func decodeOldMatchers(_ section: ConfigSection, _ key: String, _ op: MatchOperator) -> [LabelMatcher] {
    if op == .regex {
        for (name, value) in section.node(key)?.mapping ?? [] where value.isNull {
            section.issues.add(value, "\(key): invalid regexp value for \"\(name.scalar ?? "")\"")
        }
    }
    return (section.stringMap(key) ?? []).compactMap { name, value in
        guard isLegacyLabelName(name) else {
            section.issues.add(
                section.node(key) ?? section.node, "\(key): \"\(name)\" is not a valid label name; use matchers")
            return nil
        }
        do {
            // The anchors show in group keys, which others compare with Alertmanager's.
            return try LabelMatcher(name, op, op == .regex ? "^(?:\(value))$" : value)
        } catch {
            section.issues.add(section.node(key) ?? section.node, "\(key).\(name): \(error)")
            return nil
        }
    }
}

private func decodeInhibitRule(_ section: ConfigSection) -> InhibitRule {
    var rule = InhibitRule()
    rule.name = section.string("name") ?? ""
    rule.sourceMatchers =
        decodeMatchers(section, "source_matchers") + decodeOldMatchers(section, "source_match", .equal)
        + decodeOldMatchers(section, "source_match_re", .regex)
    rule.targetMatchers =
        decodeMatchers(section, "target_matchers") + decodeOldMatchers(section, "target_match", .equal)
        + decodeOldMatchers(section, "target_match_re", .regex)
    rule.equal = section.strings("equal") ?? []
    if rule.equal.contains(""), let at = section.node("equal") {
        section.issues.add(at, "equal: a label name must not be empty")
    }
    section.finish()
    return rule
}

// MARK: times

private func decodeNamedWindows(_ section: ConfigSection) -> NamedWindows {
    let name = section.required("name", section.string("name")) ?? ""
    let windows = section.sections("time_intervals").map(decodeWindow)
    section.finish()
    return NamedWindows(name: name, windows: windows)
}

private func decodeWindow(_ section: ConfigSection) -> CalendarWindow {
    var window = CalendarWindow()
    func ranges<T>(_ key: String, _ parse: (String) throws(WindowError) -> T) -> [T] {
        (section.strings(key) ?? []).compactMap { text in
            do {
                return try parse(text)
            } catch {
                section.issues.add(section.node(key) ?? section.node, "\(key): \(error)")
                return nil
            }
        }
    }
    window.times = section.sections("times").compactMap { entry in
        defer { entry.finish() }
        let start = entry.required("start_time", entry.string("start_time"))
        let end = entry.required("end_time", entry.string("end_time"))
        guard let from = start, let to = end else { return nil }
        do {
            return try CalendarWindow.timeRange(from: from, to: to)
        } catch {
            entry.issues.add(entry.node, "times: \(error)")
            return nil
        }
    }
    window.weekdays = ranges("weekdays", CalendarWindow.weekdayRange)
    window.daysOfMonth = ranges("days_of_month", CalendarWindow.dayOfMonthRange)
    window.months = ranges("months", CalendarWindow.monthRange)
    window.years = ranges("years", CalendarWindow.yearRange)
    if let location = section.string("location") {
        if location == "Local" {
            window.location = ZoneInfo("/etc/localtime") ?? .utc
        } else if let zone = ZoneInfo(location) {
            window.location = zone
        } else {
            section.issues.add(
                section.node("location") ?? section.node, "unknown time zone \"\(location)\"; name one as Europe/Berlin"
            )
        }
    }
    section.finish()
    return window
}
