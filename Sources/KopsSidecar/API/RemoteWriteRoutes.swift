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

    /// Why a body of this type or compression is not taken, in Prometheus' words; what is not said is taken for right.
    private static func refusal(of request: APIRequest) -> String? {
        if let type = request.header("content-type"), !type.isEmpty {
            if type.contains("io.prometheus.write.v2") {
                return "remote write 2.0 is not taken; send prometheus.WriteRequest of 1.0"
            }
            let media = type.prefix { $0 != ";" }.filter { !$0.isWhitespace }
            if media.lowercased() != "application/x-protobuf" {
                return "expected application/x-protobuf as the first (media) part, got \(type) content-type"
            }
        }
        if let encoding = request.header("content-encoding"), !encoding.isEmpty, encoding.lowercased() != "snappy" {
            return "\(encoding) encoding (compression) is not accepted by this server; only snappy is acceptable"
        }
        return nil
    }

    private func write(_ request: APIRequest) async throws -> APIReply {
        guard isEnabled else {
            return .text(404, "remote write receiver needs to be enabled with --enable-remote-write-receiver\n")
        }
        if let refusal = Self.refusal(of: request) { return .text(415, refusal + "\n") }
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
