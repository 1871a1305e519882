package import MetricModel
import Platform
import PromQL

/// `series`, `labels`, `label/<name>/values` and `/federate`.
package struct SeriesRoutes: Sendable {
    private let backend: QueryBackend
    private let externalLabels: @Sendable () -> Labels
    private let truncated = ["results truncated due to limit"]

    package init(_ backend: QueryBackend, externalLabels: @escaping @Sendable () -> Labels) {
        self.backend = backend
        self.externalLabels = externalLabels
    }

    package var routes: [Route] {
        [
            .query("/api/v1/series") { try await series($0) },
            .query("/api/v1/labels") { try await labelNames($0) },
            .get("/api/v1/label/:name/values") { try await labelValues($0) },
            .get("/federate") { try await federate($0) },
        ]
    }

    private func series(_ request: APIRequest) async throws -> APIReply {
        let sets = try matcherSets(request)
        if sets.isEmpty { throw APIError(.badData, "no match[] parameter provided") }
        let (from, through) = try bounds(request)
        let limit = try request.limit()
        let source = backend.source
        let found = try await backend.run(request.cancellation) { _ in
            try source.series(sets, from: from, through: through, limit: limit == 0 ? 0 : limit + 1)
        }
        let kept = limit > 0 ? Array(found.prefix(limit)) : found
        return .success(warnings: kept.count < found.count ? truncated : []) { writer in
            writer.array(kept) { $0.labels($1) }
        }
    }

    private func labelNames(_ request: APIRequest) async throws -> APIReply {
        let sets = try matcherSets(request)
        let (from, through) = try bounds(request)
        let limit = try request.limit()
        let source = backend.source
        let found = try await backend.run(request.cancellation) { _ in
            var names: Set<String> = []
            for set in sets.isEmpty ? [[]] : sets {
                names.formUnion(try source.labelNames(set, from: from, through: through, limit: 0))
            }
            return names.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
        }
        return listing(found, limit)
    }

    private func labelValues(_ request: APIRequest) async throws -> APIReply {
        let written = request.pathValues.first ?? ""
        let name = written.hasPrefix("U__") ? unescapedLabelName(written) : written
        let invalid = APIError(.badData, "invalid label name: \(quoteGo(name))")
        // What is not UTF-8 was replaced when the path was read.
        if name.isEmpty || name.unicodeScalars.contains("\u{fffd}") { throw invalid }
        let sets = try matcherSets(request)
        let (from, through) = try bounds(request)
        let limit = try request.limit()
        let (source, label) = (backend.source, name)
        let found = try await backend.run(request.cancellation) { _ in
            var values: Set<String> = []
            for set in sets.isEmpty ? [[]] : sets {
                values.formUnion(try source.labelValues(label, set, from: from, through: through, limit: 0))
            }
            return values.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
        }
        // Any text may be a label's name, as in Prometheus 3. One that no series has and that was none before is a mistake
        // most likely, and refused in the words of Prometheus 2.
        if found.isEmpty, sets.isEmpty, written == name, !isLegacyLabelName(name) { throw invalid }
        return listing(found, limit)
    }

    private func listing(_ texts: [String], _ limit: Int) -> APIReply {
        let kept = limit > 0 ? Array(texts.prefix(limit)) : texts
        return .success(warnings: kept.count < texts.count ? truncated : []) { $0.strings(kept) }
    }

    /// The newest sample of each series within the lookback, in the text format, external labels added.
    private func federate(_ request: APIRequest) async throws -> APIReply {
        let sets = try matcherSets(request)
        let now = backend.clock.nowMilliseconds()
        let lookback = backend.engine.options.lookbackDelta
        let source = backend.source
        let external = externalLabels().pairs
        let text = try await backend.run(request.cancellation) { control in
            var newest: [Labels: (time: Int64, value: Double)] = [:]
            for set in sets {
                for series in try source.select(set, from: now - lookback, through: now, control: control) {
                    guard let time = series.timestamps.last, let value = series.values.last, !value.isStaleMarker,
                        series.histograms?.last == nil
                    else { continue }
                    newest[series.labels] = (time, value)
                }
            }
            return federationText(newest, external)
        }
        return APIReply(200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", text)
    }
}

private func federationText(_ newest: [Labels: (time: Int64, value: Double)], _ external: [(String, String)]) -> [UInt8]
{
    var out: [UInt8] = []
    var family: String?
    let sorted = newest.sorted { a, b in
        let (x, y) = (a.key.metricName, b.key.metricName)
        return x == y ? a.key < b.key : x < y
    }
    for (labels, sample) in sorted {
        let name = legacyName(labels.metricName)
        if name.isEmpty { continue }
        if name != family {
            out += "# TYPE \(name) untyped\n".utf8
            family = name
        }
        var pairs = labels.pairs.filter { $0.name != Labels.metricNameLabel }
        for (key, value) in external where labels[key] == nil { pairs.append((key, value)) }
        if labels["instance"] == nil { pairs.append(("instance", "")) }
        let inner = pairs.map { "\(legacyName($0.name))=\(quoteExposition($0.value))" }.joined(separator: ",")
        var writer = JSONWriter()
        writer.sampleValue(sample.value)
        out += "\(name){\(inner)} ".utf8
        out += writer.bytes.dropFirst().dropLast()
        out += " \(sample.time)\n".utf8
    }
    return out
}

/// A name that any reader of the text format takes: every other character is an underscore, as the answer's `escaping` says.
private func legacyName(_ name: String) -> String {
    if isLegacyMetricName(name) { return name }
    var out = String.UnicodeScalarView()
    for (place, scalar) in name.unicodeScalars.enumerated() {
        switch scalar {
        case "a"..."z", "A"..."Z", "_", ":": out.append(scalar)
        case "0"..."9" where place > 0: out.append(scalar)
        default: out.append("_")
        }
    }
    return String(out)
}

/// A label name from the form `U__…` that Prometheus uses in paths: `_xx_` is the character with that code, `__` is `_`.
private func unescapedLabelName(_ text: String) -> String {
    var out = ""
    var rest = Substring(text.dropFirst(3))
    while let character = rest.first {
        rest = rest.dropFirst()
        guard character == "_" else {
            out.append(character)
            continue
        }
        if rest.first == "_" {
            out += "_"
            rest = rest.dropFirst()
        } else if let end = rest.firstIndex(of: "_"), let code = UInt32(rest[..<end], radix: 16),
            let scalar = Unicode.Scalar(code)
        {
            out.unicodeScalars.append(scalar)
            rest = rest[rest.index(after: end)...]
        } else {
            return text
        }
    }
    return out
}
