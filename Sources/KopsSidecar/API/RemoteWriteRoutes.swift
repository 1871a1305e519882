package import MetricModel
import Monitoring
package import Platform

/// `/api/v1/write`: takes samples from other Prometheus' remote write 1.0, where `run` was told to.
package struct RemoteWriteRoutes: Sendable {
    private let appender: any SampleAppender
    private let metrics: MetricRegistry
    private let isEnabled: Bool

    package init(_ appender: any SampleAppender, metrics: MetricRegistry, isEnabled: Bool) {
        self.appender = appender
        self.metrics = metrics
        self.isEnabled = isEnabled
    }

    package var routes: [Route] {
        [Route(["POST"], "/api/v1/write", changesState: true) { try await write($0) }]
    }

    private func write(_ request: APIRequest) async throws -> APIReply {
        guard isEnabled else {
            return .text(404, "remote write receiver needs to be enabled with --enable-remote-write-receiver\n")
        }
        if let type = request.header("content-type"), type.contains("io.prometheus.write.v2") {
            return .text(415, "remote write 2.0 is not taken; send prometheus.WriteRequest of 1.0\n")
        }
        let appender = appender
        let body = request.body
        let (outcome, histograms): (AppendOutcome, Int)
        do {
            (outcome, histograms) = try await WorkerPool.shared.run {
                let message = try WriteRequest(compressed: body)
                return (try message.append(to: appender), message.histograms)
            }
        } catch let error as WriteRequestError {
            return .text(400, "\(error)\n")
        }
        metrics.counter("kops_remote_write_samples_in_total", "Samples taken by remote write.").add(
            Double(outcome.appended))
        let refused = outcome.outOfOrder + outcome.duplicate + outcome.tooOld + outcome.tooNew
        if refused > 0 || histograms > 0 {
            metrics.counter("kops_remote_write_samples_refused_total", "Samples of remote write that were refused.")
                .add(
                    Double(refused + histograms))
            // Trying again would not help: the sender must know that these are lost.
            let kinds =
                "\(outcome.outOfOrder) out of order, \(outcome.duplicate) duplicates, \(outcome.tooOld) too old, "
            return .text(
                400,
                kinds
                    + "\(outcome.tooNew) too far in the future, \(histograms) native histograms; the others were taken\n"
            )
        }
        return APIReply(204, "text/plain", [])
    }
}
