package import MetricModel

/// An alert on its way to be routed: what a rule, or a Prometheus that posts to the API, says of it.
///
/// Times are milliseconds since 1970 UTC. `endsAt` in the past means resolved; in the future, that the alert counts as
/// firing until then unless it is posted again. The labels (with `alertname`) are the alert's identity.
package struct PostedAlert: Sendable, Hashable {
    package var labels: Labels
    package var annotations: Labels
    package var startsAt: Int64
    package var endsAt: Int64
    package var generatorURL: String

    package init(labels: Labels, annotations: Labels, startsAt: Int64, endsAt: Int64, generatorURL: String) {
        self.labels = labels
        self.annotations = annotations
        self.startsAt = startsAt
        self.endsAt = endsAt
        self.generatorURL = generatorURL
    }
}
