package import MetricModel
import Platform

/// One element of a query's result as templates see it.
package struct TemplateSample: Sendable {
    package var labels: Labels
    package var value: Double

    package init(labels: Labels, value: Double) {
        self.labels = labels
        self.value = value
    }
}

extension TemplateFunctions {
    /// What both projects document.
    private static let common: [String: Function] = [
        "toUpper": { .string(try text(argument($0, 0)).uppercased()) },
        "toLower": { .string(try text(argument($0, 0)).lowercased()) },
        "title": { .string(titled(try text(argument($0, 0)))) },
        "match": { arguments in
            let pattern = try regex(text(argument(arguments, 0)))
            return .bool(pattern.match(Array(try text(argument(arguments, 1)).utf8)) != nil)
        },
        "reReplaceAll": { arguments in
            let pattern = try regex(text(argument(arguments, 0)))
            return .string(
                replaceAll(pattern, try text(argument(arguments, 1)), in: try text(argument(arguments, 2))))
        },
        "safeHtml": { .html(try text(argument($0, 0))) },
        "humanizeDuration": { .string(humanizeDuration(try number(argument($0, 0)))) },
    ]

    /// Alertmanager's functions. `now` gives milliseconds.
    package static func alertmanager(now: @escaping @Sendable () -> Int64 = { WallClock.system.nowMilliseconds() })
        -> TemplateFunctions
    {
        TemplateFunctions(common).adding([
            "trimSpace": { .string(trimmed(try text(argument($0, 0)))) },
            "join": { arguments in
                let separator = try text(argument(arguments, 0))
                guard case .list(let list) = try argument(arguments, 1) else {
                    throw TemplateProblem("a list is expected")
                }
                return .string(list.map(\.text).joined(separator: separator))
            },
            "safeUrl": { .html(try text(argument($0, 0))) },
            "urlUnescape": { .string(unescaped(try text(argument($0, 0)))) },
            "stringSlice": { .list($0) },
            "list": { .list($0) },
            "date": { arguments in
                let layout = try text(argument(arguments, 0))
                guard case .time(let at, let zone) = try argument(arguments, 1) else {
                    throw TemplateProblem("a time is expected")
                }
                return .string(formatGoTime(at, layout, zone))
            },
            "tz": { arguments in
                let name = try text(argument(arguments, 0))
                guard case .time(let at, _) = try argument(arguments, 1) else {
                    throw TemplateProblem("a time is expected")
                }
                guard let zone = ZoneInfo(name) else { throw TemplateProblem("unknown time zone \(name)") }
                return .time(at, zone)
            },
            "since": { arguments in
                guard case .time(let at, _) = try argument(arguments, 0) else {
                    throw TemplateProblem("a time is expected")
                }
                return .float(Double(now() - at) / 1000)
            },
            "now": { _ in .time(now()) },
            "toJson": { .string(json(try argument($0, 0))) },
        ])
    }

    /// Prometheus' functions. `query` evaluates at the rule's time.
    package static func prometheus(
        externalURL: String, now: Int64, query: @escaping @Sendable (String) throws -> [TemplateSample]
    ) -> TemplateFunctions {
        TemplateFunctions(common).adding([
            "query": { .list(try query(text(argument($0, 0))).map(sampleValue)) },
            "first": { arguments in
                guard case .list(let list) = try argument(arguments, 0), let first = list.first else {
                    throw TemplateProblem("first() called on vector with no elements")
                }
                return first
            },
            "label": { .string(try sample(argument($0, 1)).labels[text(argument($0, 0))] ?? "") },
            "value": { .float(try sample(argument($0, 0)).value) },
            "strvalue": { .string(try sample(argument($0, 0)).labels["__value__"] ?? "") },
            "sortByLabel": { arguments in
                let name = try text(argument(arguments, 0))
                guard case .list(let list) = try argument(arguments, 1) else {
                    throw TemplateProblem("a vector is expected")
                }
                let sorted = try list.map { ($0, try sample($0).labels[name] ?? "") }.sorted { $0.1 < $1.1 }
                return .list(sorted.map(\.0))
            },
            "args": { arguments in
                .map(Dictionary(uniqueKeysWithValues: arguments.enumerated().map { ("arg\($0)", $1) }))
            },
            "humanize": { .string(humanize(try number(argument($0, 0)))) },
            "humanize1024": { .string(humanize1024(try number(argument($0, 0)))) },
            "humanizePercentage": { .string(humanizePercentage(try number(argument($0, 0)))) },
            "humanizeTimestamp": { arguments in
                let seconds = try number(argument(arguments, 0))
                guard seconds.isFinite else { return .string(goFloat(seconds)) }
                return .string(goTime(Int64(max(-9e15, min(9e15, seconds * 1000))), .utc))
            },
            "toTime": { .time(Int64(max(-9e15, min(9e15, try number(argument($0, 0)) * 1000)))) },
            "toDuration": { .string(humanizeDuration(try number(argument($0, 0)))) },
            "now": { _ in .float(Double(now) / 1000) },
            "parseDuration": { arguments in
                let given = try text(argument(arguments, 0))
                guard let milliseconds = parseDuration(given) else {
                    throw TemplateProblem("not a valid duration string: \(quoteGo(given))")
                }
                return .float(Double(milliseconds) / 1000)
            },
            "stripPort": { .string(withoutPort(try text(argument($0, 0)))) },
            "stripDomain": { arguments in
                let given = try text(argument(arguments, 0))
                let host = withoutPort(given)
                if isAddress(host) { return .string(given) }
                return .string(String(host.prefix { $0 != "." }) + given.dropFirst(host.count))
            },
            "tableLink": { .string("/graph?g0.expr=\(percentEncoded(try text(argument($0, 0))))&g0.tab=1") },
            "graphLink": { .string("/graph?g0.expr=\(percentEncoded(try text(argument($0, 0))))&g0.tab=0") },
            "externalURL": { _ in .string(externalURL) },
            "pathPrefix": { _ in .string(pathOf(externalURL)) },
        ])
    }
}

private func sampleValue(_ sample: TemplateSample) -> TemplateValue {
    let labels = Dictionary(
        sample.labels.pairs.map { ($0.name, TemplateValue.string($0.value)) }, uniquingKeysWith: { _, last in last })
    return .map(["Labels": .map(labels), "Value": .float(sample.value)])
}

private func sample(_ value: TemplateValue) throws -> TemplateSample {
    guard case .map(let map) = value, case .map(let labels)? = map["Labels"], case .float(let number)? = map["Value"]
    else {
        throw TemplateProblem("an element of a query's result is expected")
    }
    return TemplateSample(labels: Labels(labels.map { ($0.key, $0.value.text) }), value: number)
}

private func regex(_ pattern: String) throws -> Regex2 {
    do {
        return try Regex2(pattern, dotMatchesNewline: false)
    } catch {
        throw TemplateProblem("\(error)")
    }
}

/// Every match replaced; an empty match right after another is passed over, as Go does.
func replaceAll(_ pattern: Regex2, _ replacement: String, in text: String) -> String {
    let bytes = Array(text.utf8)
    var out: [UInt8] = []
    var at = 0
    var copied = 0
    var lastEnd = -1
    while at <= bytes.count, let groups = pattern.match(bytes, from: at), let whole = groups[0] {
        if whole.isEmpty, whole.lowerBound == lastEnd {
            at = whole.upperBound + 1
            continue
        }
        out += bytes[copied..<whole.lowerBound]
        out += pattern.expand(replacement, match: groups, in: bytes).utf8
        copied = whole.upperBound
        lastEnd = whole.upperBound
        at = whole.isEmpty ? whole.upperBound + 1 : whole.upperBound
    }
    out += bytes[min(copied, bytes.count)...]
    return String(decoding: out, as: UTF8.self)
}

private func trimmed(_ text: String) -> String {
    var rest = Substring(text).drop { $0.isWhitespace }
    while rest.last?.isWhitespace == true { rest.removeLast() }
    return String(rest)
}

private func unescaped(_ text: String) -> String {
    var out: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let first = rest.first {
        rest = rest.dropFirst()
        if first == UInt8(ascii: "%"), rest.count >= 2,
            let byte = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
        {
            out.append(byte)
            rest = rest.dropFirst(2)
        } else {
            out.append(first == UInt8(ascii: "+") ? UInt8(ascii: " ") : first)
        }
    }
    return String(decoding: out, as: UTF8.self)
}

private func withoutPort(_ text: String) -> String {
    if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
        return String(text[text.index(after: text.startIndex)..<end])
    }
    guard let colon = text.lastIndex(of: ":"), text.firstIndex(of: ":") == colon,
        text[text.index(after: colon)...].allSatisfy(\.isNumber)
    else { return text }
    return String(text[..<colon])
}

private func isAddress(_ host: String) -> Bool {
    host.contains(":") || host.split(separator: ".").allSatisfy { UInt8($0) != nil }
}

private func pathOf(_ url: String) -> String {
    var rest = Substring(url)
    if let scheme = rest.firstIndex(of: ":"), rest[scheme...].hasPrefix("://") {
        rest = rest[rest.index(scheme, offsetBy: 3)...]
        guard let slash = rest.firstIndex(of: "/") else { return "" }
        rest = rest[slash...]
    }
    return String(rest.prefix { $0 != "?" && $0 != "#" })
}

private func json(_ value: TemplateValue) -> String {
    switch value {
    case .none: "null"
    case .bool, .int: value.text
    case .float(let number): number.isFinite ? formatFloat(number, .api) : "null"
    case .string(let text), .html(let text): jsonQuoted(text)
    case .time(let at, let zone): jsonQuoted(formatGoTime(at, "2006-01-02T15:04:05.999Z07:00", zone))
    case .list(let list): "[" + list.map(json).joined(separator: ",") + "]"
    case .map(let map):
        "{" + map.sorted { $0.key < $1.key }.map { "\(jsonQuoted($0.key)):\(json($0.value))" }.joined(separator: ",")
            + "}"
    case .object(let object):
        if let fields = object.fields {
            // Alertmanager's names in JSON are its fields' with a small first letter.
            "{"
                + fields.map { "\(jsonQuoted($0.name.prefix(1).lowercased() + $0.name.dropFirst())):\(json($0.value))" }
                .joined(separator: ",") + "}"
        } else if let elements = object.elements?(), object.isList {
            "[" + elements.map { json($0.value) }.joined(separator: ",") + "]"
        } else if let elements = object.elements?() {
            "{" + elements.map { "\(jsonQuoted($0.key.text)):\(json($0.value))" }.joined(separator: ",") + "}"
        } else {
            jsonQuoted(object.text())
        }
    }
}
