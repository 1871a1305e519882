package import Platform
package import TSDB

/// `status/tsdb`: what is in the store and what takes its room.
package struct StoreRoutes: Sendable {
    private let store: Store
    private let pool: WorkerPool

    package init(_ store: Store, pool: WorkerPool) {
        self.store = store
        self.pool = pool
    }

    package var routes: [Route] {
        [.get("/api/v1/status/tsdb") { try await status($0) }]
    }

    private func status(_ request: APIRequest) async throws -> APIReply {
        let limit = request.parameter("limit").flatMap { Int($0) } ?? 10
        guard limit > 0, limit <= 10_000 else {
            throw APIError.parameter("limit", "must be from 1 to 10000")
        }
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
