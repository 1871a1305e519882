import ClusterOps
import FoundationEssentials
import Platform

/// `doctor:`; without it the service makes no examination by itself.
package struct DoctorConfig: Sendable {
    package var schedule: String?
    package var timezone: String?
}

func decodeDoctorConfig(_ section: ConfigSection?) -> DoctorConfig? {
    guard let section else { return nil }
    var config = DoctorConfig()
    config.timezone = section.string("timezone")
    config.schedule = section.string("schedule")
    checkSchedule(section, "schedule", zone: config.timezone)
    section.finish()
    return config
}

extension SidecarService {
    func doctorJobs(_ config: SidecarConfig) throws -> [Job] {
        guard let doctor = config.doctor else { return [] }
        let kubeconfig = config.cluster.kubeconfig
        let schedule = try doctor.schedule.map { try makeSchedule($0, zone: doctor.timezone) }
        return [
            Job(name: "doctor", schedule: schedule) { [self] context in
                let report = try await examineNode(kubeconfig: kubeconfig)
                examined.withLock { $0 = report }
                for severity in Finding.Severity.allCases {
                    metrics.gauge(
                        "kops_doctor_findings", "Findings of the doctor on this node and its cluster, by severity.",
                        labels: [("severity", severity.rawValue)]
                    ).set(Double(report.count(severity)))
                }
                for finding in report.findings where finding.severity > .info {
                    context.log("\(finding.severity.rawValue) \(finding.id): \(finding.title): \(finding.evidence)")
                }
                return Finding.Severity.allCases.reversed().map { "\(report.count($0)) \($0.rawValue)" }
                    .joined(separator: ", ")
            }
        ]
    }

    /// The newest report of the job.
    func doctorRoutes() -> [Route] {
        [
            .get("/api/kops/v1/doctor") { [examined] _ in
                guard let report = examined.withLock({ $0 }) else {
                    throw APIError(.notFound, "the doctor's job has not run yet: kops-sidecar jobs run doctor")
                }
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                let body = Array(try encoder.encode(report))
                return APIReply(
                    200, "application/json", Array(#"{"status":"success","data":"#.utf8) + body + Array("}".utf8))
            }
        ]
    }
}
