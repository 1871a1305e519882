package import ClusterOps
import Platform

/// `/api/kops/v1/audit?limit=&action=&since=`: who did what, the newest first.
package struct AuditRoutes: Sendable {
    private let trail: AuditTrail

    package init(_ trail: AuditTrail) { self.trail = trail }

    package var routes: [Route] {
        [
            .get("/api/kops/v1/audit") { request in
                let limit = try request.limit()
                let since = try request.time("since", or: 0)
                let action = request.parameter("action")
                let entries = try await WorkerPool.blocking.run {
                    try trail.list(limit: limit == 0 ? 100 : min(limit, 10_000), since: since, action: action)
                }
                return .success { Self.write(&$0, entries) }
            }
        ]
    }

    package static func write(_ writer: inout JSONWriter, _ entries: [AuditEntry]) {
        writer.object { writer in
            writer.key("entries")
            writer.array(entries, write)
        }
    }

    private static func write(_ writer: inout JSONWriter, _ entry: AuditEntry) {
        writer.object { writer in
            writer.key("id")
            writer.int(entry.id)
            let texts = [
                ("time", formatRFC3339(entry.time)), ("actor", entry.actor), ("action", entry.action),
                ("subject", entry.subject), ("result", entry.succeeded ? "success" : "failure"),
                ("detail", entry.detail),
            ]
            for (name, text) in texts {
                writer.key(name)
                writer.string(text)
            }
        }
    }
}
