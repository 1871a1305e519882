package import ClusterOps
import Platform

/// `/api/kops/v1/events?namespace=&type=&reason=&since=&limit=`: the cluster's events, those that happened last first.
package struct EventRoutes: Sendable {
    private let keeper: ClusterEventKeeper

    package init(_ keeper: ClusterEventKeeper) { self.keeper = keeper }

    package var routes: [Route] {
        [
            .get("/api/kops/v1/events") { request in
                var filter = ClusterEventFilter()
                filter.namespace = request.parameter("namespace")
                filter.type = request.parameter("type")
                filter.reason = request.parameter("reason")
                filter.since = try request.time("since", or: 0)
                let limit = try request.limit()
                filter.limit = limit == 0 ? 100 : min(limit, 10_000)
                let events = try await WorkerPool.blocking.run { [filter] in try keeper.store.list(filter) }
                let isOn = keeper.isOn
                return .success { writeClusterEvents(&$0, events, isKept: isOn) }
            }
        ]
    }
}

/// `isKept`: whether the sidecar follows them now.
package func writeClusterEvents(_ writer: inout JSONWriter, _ events: [ClusterEvent], isKept: Bool) {
    writer.object { writer in
        writer.key("kept")
        writer.bool(isKept)
        writer.key("events")
        writer.array(events) { writer, event in
            writer.object { writer in
                let texts = [
                    ("first", formatRFC3339(event.first)), ("last", formatRFC3339(event.last)), ("type", event.type),
                    ("reason", event.reason), ("namespace", event.namespace), ("kind", event.kind),
                    ("name", event.name), ("message", event.message), ("source", event.source),
                ]
                for (name, text) in texts {
                    writer.key(name)
                    writer.string(text)
                }
                writer.key("count")
                writer.int(event.count)
            }
        }
    }
}
