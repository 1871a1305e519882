import ClusterOps
import Logging
import Platform
import TestSupport
import Testing

@testable import KopsSidecar

@Suite struct AuditRequestTests {
    @Test func aRequestIsNotedWithItsUserItsSubjectAndWhoSitsThere() async throws {
        let directory = try scratchDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let trail = try AuditTrail(
            path: AuditTrail.path(in: directory), clock: .system, metrics: MetricRegistry(),
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let silence = """
            {"matchers": [{"name": "alertname", "value": "Down", "isRegex": false, "isEqual": true},
                          {"name": "job", "value": "a|b", "isRegex": true}],
             "startsAt": "2026-11-24T10:00:00Z", "endsAt": "2026-11-24T12:00:00Z", "createdBy": "alice", "comment": "new disk"}
            """
        trail.record(
            request: APIRequest(
                method: "POST", path: "/api/v2/silences",
                headers: [
                    ("authorization", "Basic YWRtaW46c2VjcmV0"), (operatorHeader, "alice as root\u{1B}[31m\n"),
                ], body: Array(silence.utf8)), status: 200)
        trail.record(
            request: APIRequest(
                method: "POST", path: "/api/kops/v1/upgrade/apply",
                parameters: [("to", "v1.31.4"), ("force", "backup")], headers: [("authorization", "Bearer secret")]),
            status: 400)
        trail.record(
            request: APIRequest(method: "POST", path: "/api/v2/silences", body: Array("no JSON, secret".utf8)),
            status: 400)
        // Data that comes all the time is nobody's doing.
        trail.record(request: APIRequest(method: "POST", path: "/api/v1/write"), status: 204)
        try await eventually("all are kept") { try trail.list(limit: 10).count == 3 }
        let entries = try trail.list(limit: 10)
        #expect(entries.map(\.actor) == ["api", "api token", "admin (alice as root[31m)"])
        #expect(
            entries.map(\.subject) == [
                "", "to=v1.31.4 force=backup",
                #"alertname="Down" job=~"a|b" until 2026-11-24T12:00:00Z (by alice: new disk)"#,
            ])
        #expect(entries.map(\.succeeded) == [false, false, true])
        #expect(entries.allSatisfy { !"\($0)".contains("secret") })
    }
}
