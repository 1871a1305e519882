package import Kubernetes
import Platform

/// An event of the cluster as it is kept: the newest state of one object of kind Event, which counts when the same happens again.
package struct ClusterEvent: Sendable, Hashable {
    /// Grows with each change of any event; 0 before it is kept.
    package var id: Int64 = 0
    package var uid: String
    /// Milliseconds since 1970 UTC.
    package var first: Int64
    package var last: Int64
    package var count: Int64
    /// `Normal` or `Warning`.
    package var type: String
    package var reason: String
    /// Of the object that it is about; empty for one without.
    package var namespace: String
    package var kind: String
    package var name: String
    package var message: String
    /// Who says so, as `kubelet` or `kubelet, w1`.
    package var source: String

    package init(
        uid: String, first: Int64, last: Int64, count: Int64, type: String, reason: String, namespace: String,
        kind: String, name: String, message: String, source: String
    ) {
        self.uid = uid
        self.first = first
        self.last = last
        self.count = count
        self.type = String(type.prefix(64))
        self.reason = String(reason.prefix(128))
        self.namespace = String(namespace.prefix(253))
        self.kind = String(kind.prefix(128))
        self.name = String(name.prefix(253))
        self.message = String(message.prefix(1024))
        self.source = String(source.prefix(300))
    }

    /// Old reporters keep `count` and timestamps of whole seconds, new ones `eventTime` and `series`. `now` stands in for one
    /// that has no time at all.
    package init(_ event: Event, now: Int64) {
        let created = event.metadata.creationTimestamp?.milliseconds
        let happened = event.eventTime.map { $0.microseconds / 1000 }
        let first = event.firstTimestamp?.milliseconds ?? happened ?? created ?? now
        let last =
            [
                event.series?.lastObservedTime.map { $0.microseconds / 1000 }, event.lastTimestamp?.milliseconds,
                happened,
            ].compactMap { $0 }.max() ?? created ?? now
        let component = event.source?.component ?? ""
        let reporter = component.isEmpty ? event.reportingComponent ?? "" : component
        let host = event.source?.host ?? event.reportingInstance ?? ""
        self.init(
            uid: event.metadata.uid ?? "\(event.metadata.namespace ?? "")/\(event.metadata.name ?? "")", first: first,
            last: max(first, last), count: Int64(event.occurrences), type: event.type ?? "", reason: event.reason ?? "",
            namespace: event.involvedObject?.namespace ?? "", kind: event.involvedObject?.kind ?? "",
            name: event.involvedObject?.name ?? "", message: event.message ?? "",
            source: host.isEmpty || host == reporter ? reporter : "\(reporter), \(host)")
    }
}

extension ClusterEvent {
    private struct Document: Encodable {
        let timestamp: String
        let cluster: String
        let uid: String
        let firstTimestamp: String
        let count: Int64
        let type: String
        let reason: String
        let namespace: String
        let kind: String
        let name: String
        let message: String
        let source: String

        enum CodingKeys: String, CodingKey {
            case timestamp = "@timestamp"
            case cluster, uid, firstTimestamp, count, type, reason, namespace, kind, name, message, source
        }
    }

    func line(_ origin: LogOrigin) -> ShippedLine {
        ShippedLine(
            // Whichever sidecar sends it: one event and count is one document.
            id: id, time: last, key: "\(origin.cluster)-\(uid)-\(count)-\(last)",
            json: lineOfJSON(
                Document(
                    timestamp: formatRFC3339(last), cluster: origin.cluster, uid: uid,
                    firstTimestamp: formatRFC3339(first), count: count, type: type, reason: reason,
                    namespace: namespace, kind: kind, name: name, message: message, source: source)))
    }
}
