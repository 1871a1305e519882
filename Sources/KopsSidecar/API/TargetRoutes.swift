import MetricModel
package import Monitoring
import Platform

/// `targets`, `scrape_pools`, `targets/metadata` and `metadata`.
package struct TargetRoutes: Sendable {
    private let targets: @Sendable () -> TargetsSnapshot

    package init(_ targets: @escaping @Sendable () -> TargetsSnapshot) { self.targets = targets }

    package var routes: [Route] {
        [
            .get("/api/v1/targets") { listing($0) },
            .get("/api/v1/scrape_pools") { _ in
                let pools = Set(targets().droppedCounts.map(\.pool)).sorted()
                return .success { writer in
                    writer.object {
                        $0.key("scrapePools")
                        $0.strings(pools)
                    }
                }
            },
            .get("/api/v1/metadata") { try metadata($0) },
            .get("/api/v1/targets/metadata") { try targetMetadata($0) },
        ]
    }

    private func listing(_ request: APIRequest) -> APIReply {
        let snapshot = targets()
        let state = request.parameter("state")?.lowercased() ?? ""
        let pool = request.parameter("scrapePool") ?? ""
        let showActive = state.isEmpty || state == "any" || state == "active"
        let showDropped = state.isEmpty || state == "any" || state == "dropped"
        return .success { writer in
            writer.object { writer in
                writer.key("activeTargets")
                writer.array(snapshot.active.filter { showActive && (pool.isEmpty || $0.pool == pool) }, Self.write)
                writer.key("droppedTargets")
                writer.array(snapshot.dropped.filter { showDropped && (pool.isEmpty || $0.pool == pool) }) {
                    writer, target in
                    writer.object {
                        $0.key("discoveredLabels")
                        $0.labels(target.discovered)
                        $0.key("scrapePool")
                        $0.string(target.pool)
                    }
                }
                writer.key("droppedTargetCounts")
                guard showDropped else { return writer.null() }
                writer.object { writer in
                    for (name, count) in snapshot.droppedCounts where pool.isEmpty || name == pool {
                        writer.key(name)
                        writer.int(count)
                    }
                }
            }
        }
    }

    private static func write(_ writer: inout JSONWriter, _ status: TargetStatus) {
        writer.object { writer in
            writer.key("discoveredLabels")
            writer.labels(status.target.discovered)
            writer.key("labels")
            writer.labels(status.target.labels)
            let texts = [
                ("scrapePool", status.pool), ("scrapeUrl", status.target.url), ("globalUrl", status.target.url),
                ("lastError", status.lastError),
                ("lastScrape", status.lastScrape == 0 ? zeroTime : formatRFC3339(status.lastScrape)),
            ]
            for (name, text) in texts {
                writer.key(name)
                writer.string(text)
            }
            writer.key("lastScrapeDuration")
            writer.double(status.lastDuration)
            writer.key("health")
            writer.string(status.health)
            writer.key("scrapeInterval")
            writer.string(formatDuration(status.target.scrapeInterval))
            writer.key("scrapeTimeout")
            writer.string(formatDuration(status.target.scrapeTimeout))
        }
    }

    private func metadata(_ request: APIRequest) throws -> APIReply {
        let limit = try number("limit", request) ?? -1
        let perMetric = try number("limit_per_metric", request) ?? 0
        let wanted = request.parameter("metric") ?? ""
        var found: [String: [MetricMetadata]] = [:]
        for status in targets().active {
            for (name, metadata) in status.metadata where wanted.isEmpty || name == wanted {
                if found[name] == nil, limit >= 0, found.count >= limit { continue }
                if found[name]?.contains(metadata) == true { continue }
                if perMetric > 0, found[name]?.count ?? 0 >= perMetric { continue }
                found[name, default: []].append(metadata)
            }
        }
        return .success { writer in
            writer.object { writer in
                for (name, list) in found.sorted(by: { $0.key < $1.key }) {
                    writer.key(name)
                    writer.array(list) { writer, metadata in
                        writer.object { Self.write(&$0, metadata) }
                    }
                }
            }
        }
    }

    private func number(_ name: String, _ request: APIRequest) throws(APIError) -> Int? {
        guard let text = request.parameter(name), !text.isEmpty else { return nil }
        guard let number = Int(text) else { throw APIError(.badData, "\(name) must be a number") }
        return number
    }

    private static func write(_ writer: inout JSONWriter, _ metadata: MetricMetadata) {
        for (name, text) in [("type", metadata.type), ("help", metadata.help), ("unit", metadata.unit)] {
            writer.key(name)
            writer.string(text)
        }
    }

    private func targetMetadata(_ request: APIRequest) throws -> APIReply {
        let limit = try request.limit()
        let wanted = request.parameter("metric") ?? ""
        var matchers: [LabelMatcher] = []
        if let text = request.parameter("match_target"), !text.isEmpty { matchers = try parseMatchers(text) }
        var rows: [(target: Labels, name: String, metadata: MetricMetadata)] = []
        for status in targets().active {
            let labels = status.target.labels
            guard matchers.allSatisfy({ $0.matches(labels[$0.name] ?? "") }) else { continue }
            for (name, metadata) in status.metadata.sorted(by: { $0.key < $1.key })
            where wanted.isEmpty || name == wanted {
                rows.append((labels, name, metadata))
            }
        }
        if limit > 0 { rows = Array(rows.prefix(limit)) }
        return .success { writer in
            writer.array(rows) { writer, row in
                writer.object { writer in
                    writer.key("target")
                    writer.labels(row.target)
                    if wanted.isEmpty {
                        writer.key("metric")
                        writer.string(row.name)
                    }
                    Self.write(&writer, row.metadata)
                }
            }
        }
    }
}

/// How Prometheus writes a time that never was.
let zeroTime = "0001-01-01T00:00:00Z"
