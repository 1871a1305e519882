package import ClusterOps
import Platform

/// What the page shows beside Prometheus' own API: `/api/kops/v1/{backups,jobs,certificates}`.
package struct KopsRoutes: Sendable {
    private let jobs: JobRunner
    private let certificates: CertificateWatch
    private let backups: @Sendable () -> BackupService?

    package init(
        jobs: JobRunner, certificates: CertificateWatch, backups: @escaping @Sendable () -> BackupService?
    ) {
        self.jobs = jobs
        self.certificates = certificates
        self.backups = backups
    }

    package var routes: [Route] {
        [
            .get("/api/kops/v1/jobs") { _ in jobList() },
            .get("/api/kops/v1/jobs/history") { try history($0) },
            Route(["POST"], "/api/kops/v1/jobs/:name/run", changesState: true) { request in
                let name = request.pathValues.first ?? ""
                do {
                    let run = try await jobs.trigger(name)
                    return .success { write(&$0, run) }
                } catch let error as JobError {
                    throw APIError(.badData, error.description)
                }
            },
            .get("/api/kops/v1/backups") { _ in await backupList() },
            .get("/api/kops/v1/certificates") { _ in
                await certificates.look(atPorts: false)
                let seen = certificates.current()
                let now = WallClock.system.nowMilliseconds()
                return .success { writeCertificates(&$0, seen, now: now) }
            },
        ]
    }

    private func jobList() -> APIReply {
        let list = jobs.list().sorted { $0.name < $1.name }
        return .success { writer in
            writer.object { writer in
                writer.key("jobs")
                writer.array(list) { writer, job in
                    writer.object { writer in
                        writer.key("name")
                        writer.string(job.name)
                        writer.key("schedule")
                        writer.string(job.schedule)
                        writer.key("running")
                        writer.bool(job.running)
                        writer.key("nextRun")
                        if let next = job.nextRun { writer.string(formatRFC3339(next)) } else { writer.null() }
                        writer.key("lastRun")
                        if let last = job.lastRun {
                            writer.string(formatRFC3339(last.startedAt))
                        } else {
                            writer.null()
                        }
                        writer.key("lastResult")
                        writer.string(job.lastRun?.result.rawValue ?? "")
                        writer.key("lastMessage")
                        writer.string(job.lastRun?.message ?? "")
                    }
                }
            }
        }
    }

    private func history(_ request: APIRequest) throws -> APIReply {
        let limit = try request.limit()
        let runs = try jobs.history(request.parameter("job"), limit: limit == 0 ? 100 : min(limit, 10_000))
        return .success { writer in
            writer.object { writer in
                writer.key("runs")
                writer.array(runs, write)
            }
        }
    }

    private func write(_ writer: inout JSONWriter, _ run: JobRun) {
        writer.object { writer in
            writer.key("job")
            writer.string(run.job)
            writer.key("startedAt")
            writer.string(formatRFC3339(run.startedAt))
            writer.key("endedAt")
            if let end = run.endedAt { writer.string(formatRFC3339(end)) } else { writer.null() }
            writer.key("result")
            writer.string(run.result.rawValue)
            writer.key("message")
            writer.string(run.message)
            writer.key("onDemand")
            writer.bool(run.onDemand)
            writer.key("attempt")
            writer.int(Int64(run.attempt))
            writer.key("log")
            writer.strings(run.log)
        }
    }

    private func backupList() async -> APIReply {
        var entries: [BackupEntry] = []
        var warnings: [String] = []
        if let service = backups() {
            for destination in service.destinations {
                do {
                    entries += try await BackupCatalogue.read(destination)
                } catch {
                    warnings.append("\(destination.name): \(error)")
                }
            }
        }
        entries.sort { ($0.manifest?.time ?? 0) > ($1.manifest?.time ?? 0) }
        return .success(warnings: warnings) { [entries] writer in
            writer.object { writer in
                writer.key("backups")
                writer.array(entries, write)
            }
        }
    }

    private func write(_ writer: inout JSONWriter, _ entry: BackupEntry) {
        writer.object { writer in
            writer.key("name")
            writer.string("\(entry.name)")
            writer.key("destination")
            writer.string(entry.destination)
            writer.key("createdAt")
            writer.string(entry.manifest?.created ?? "")
            writer.key("kind")
            writer.string(entry.manifest?.kind.rawValue ?? "")
            writer.key("sizeBytes")
            writer.int(entry.bytes)
            writer.key("revision")
            writer.int(entry.manifest?.revision ?? 0)
            writer.key("keys")
            writer.int(entry.manifest?.totalKeys ?? 0)
            writer.key("verified")
            writer.bool(entry.isGood && entry.manifest?.verified != nil)
            writer.key("problem")
            writer.string(entry.problem ?? "")
        }
    }
}
