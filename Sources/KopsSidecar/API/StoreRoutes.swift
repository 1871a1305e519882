import MetricModel
package import Platform
import PromQL
package import TSDB

/// `status/tsdb`: what is in the store and what takes its room; and, where `run` was told to, `admin/tsdb`.
package struct StoreRoutes: Sendable {
    private let store: Store
    private let pool: WorkerPool
    private let isAdminEnabled: Bool

    package init(_ store: Store, pool: WorkerPool, isAdminEnabled: Bool = false) {
        self.store = store
        self.pool = pool
        self.isAdminEnabled = isAdminEnabled
    }

    package var routes: [Route] {
        [
            .get("/api/v1/status/tsdb") { try await status($0) },
            admin("delete_series") { try await deleteSeries($0) },
            admin("clean_tombstones") { _ in
                try await blocking { try $0.cleanTombstones() }
                return APIReply(204, "application/json", [])
            },
            admin("snapshot") { try await snapshot($0) },
        ]
    }

    private func admin(_ name: String, _ handler: @escaping Route.Handler) -> Route {
        Route(["POST", "PUT"], "/api/v1/admin/tsdb/" + name, changesState: true) { request in
            guard isAdminEnabled else { throw APIError(.unavailable, "admin APIs disabled") }
            return try await handler(request)
        }
    }

    /// Runs what may take long and writes to the disk.
    private func blocking<R: Sendable>(_ body: @escaping @Sendable (Store) throws -> R) async throws -> R {
        let store = store
        do {
            return try await WorkerPool.blocking.run { try body(store) }
        } catch let error as StoreError {
            throw APIError(.internalError, error.message)
        }
    }

    private func deleteSeries(_ request: APIRequest) async throws -> APIReply {
        let sets = try matcherSets(request)
        if sets.isEmpty { throw APIError(.badData, "no match[] parameter provided") }
        let (from, through) = try bounds(request)
        if from > through { throw APIError(.badData, "end timestamp must not be before start time") }
        try await blocking { try $0.deleteSeries(sets, from: from, through: through) }
        return APIReply(204, "application/json", [])
    }

    private func snapshot(_ request: APIRequest) async throws -> APIReply {
        let skipHead: Bool
        switch request.parameter("skip_head") ?? "" {
        case "", "0", "f", "F", "false", "FALSE", "False": skipHead = false
        case "1", "t", "T", "true", "TRUE", "True": skipHead = true
        default: throw APIError.parameter("skip_head", "unable to parse boolean")
        }
        let name = try await blocking { try $0.snapshot(skipHead: skipHead) }
        return .success { writer in
            writer.object {
                $0.key("name")
                $0.string(name)
            }
        }
    }

    private func status(_ request: APIRequest) async throws -> APIReply {
        let text = request.parameter("limit") ?? ""
        guard let limit = text.isEmpty ? 10 : Int(text), limit > 0 else {
            throw APIError(.badData, "limit must be a positive number")
        }
        if limit > 10_000 { throw APIError(.badData, "limit must not exceed 10000") }
        let store = store
        let stats = try await pool.run { store.stats(limit: limit) }
        return .success { writer in
            writer.object { writer in
                writer.key("headStats")
                writer.object { writer in
                    let numbers: [(String, Int64)] = [
                        ("numSeries", Int64(stats.headSeries)), ("numLabelPairs", Int64(stats.labelPairs)),
                        ("chunkCount", Int64(stats.headSeries)), ("minTime", stats.minTime), ("maxTime", stats.maxTime),
                    ]
                    for (name, number) in numbers {
                        writer.key(name)
                        writer.int(number)
                    }
                }
                let lists = [
                    ("seriesCountByMetricName", stats.seriesByMetric),
                    ("labelValueCountByLabelName", stats.valuesByLabel),
                    ("memoryInBytesByLabelName", stats.bytesByLabel),
                    ("seriesCountByLabelValuePair", stats.seriesByPair),
                ]
                for (name, list) in lists {
                    writer.key(name)
                    writer.array(list) { writer, count in
                        writer.object {
                            $0.key("name")
                            $0.string(count.name)
                            $0.key("value")
                            $0.int(count.value)
                        }
                    }
                }
            }
        }
    }
}
