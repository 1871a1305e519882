package import ClusterOps
import FoundationEssentials
import Platform

/// `/api/kops/v1/upgrade` and what is below it.
package struct UpgradeRoutes: Sendable {
    private let upgrade: UpgradeService
    private let jobs: JobRunner

    package init(_ upgrade: UpgradeService, jobs: JobRunner) {
        self.upgrade = upgrade
        self.jobs = jobs
    }

    package var routes: [Route] {
        [
            .get("/api/kops/v1/upgrade") { _ in
                let (run, isUnderWay) = try await WorkerPool.blocking.run { try upgrade.status() }
                return .success { writeUpgrade(&$0, run, isUnderWay: isUnderWay) }
            },
            .get("/api/kops/v1/upgrade/plan") { request in
                let target = try target(request)
                let plan = try await answering { try await upgrade.plan(target) }
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                let body = Array(try encoder.encode(plan))
                return APIReply(
                    200, "application/json", Array(#"{"status":"success","data":"#.utf8) + body + Array("}".utf8))
            },
            Route(["POST"], "/api/kops/v1/upgrade/apply", changesState: true) { request in
                let target = try target(request)
                try await answering { try await upgrade.begin(target, overrides: Set(request.parameters("force"))) }
                return start()
            },
            Route(["POST"], "/api/kops/v1/upgrade/resume", changesState: true) { _ in
                try await answering { try upgrade.prepareToResume() }
                return start()
            },
            Route(["POST"], "/api/kops/v1/upgrade/pause", changesState: true) { _ in
                _ = try await answering { try await upgrade.ask(.pause) }
                return .success { $0.string("asked to pause") }
            },
            Route(["POST"], "/api/kops/v1/upgrade/abort", changesState: true) { _ in
                let isOurs = try await answering { try await upgrade.ask(.abort) }
                return isOurs ? start() : .success { $0.string("asked to abort") }
            },
        ]
    }

    private func target(_ request: APIRequest) throws -> KubernetesVersion {
        let text = request.parameter("to") ?? ""
        guard let version = KubernetesVersion(text) else {
            throw APIError.parameter("to", "\"\(text)\" is no version of Kubernetes: name one as v1.31.4")
        }
        return version
    }

    private func answering<R>(_ body: () async throws -> R) async throws -> R {
        do {
            return try await body()
        } catch let error as UpgradeError {
            throw APIError(error.kind == .failed ? .execution : .badData, error.message)
        }
    }

    /// The job's run outlives the request. One whose upgrade has just ended may still be at its own end: then it is asked for
    /// again, or what was asked for would lie there until somebody looks.
    private func start() -> APIReply {
        Task { [jobs, upgrade] in
            for _ in 0..<300 {
                if (try? await jobs.trigger(UpgradeService.jobName)) != nil { return }
                try? await Task.sleep(for: .milliseconds(200))
                let isLeft = (try? await WorkerPool.blocking.run { upgrade.isUnfinished }) ?? true
                if !isLeft { return }
            }
        }
        return .success { $0.string("begun") }
    }
}
