import Platform
import Testing

/// What rules tell Alertmanagers, beside a real Prometheus: scripts/alert-generator-diff in its short form, with
/// slack for machines that are busy with other tests.
@Suite(.enabled(if: isInstalled("prometheus", "python3"), "needs the Debian packages prometheus and python3"))
struct AlertGeneratorTests {
    @Test(.timeLimit(.minutes(10))) func alertsBeginResolveAndBeginAgainAsInPrometheus() async throws {
        let answer = try await shell("cd \(root) && scripts/alert-generator-diff --sidecar \(binary) --slack 10")
        #expect(answer.status == 0, "\(answer.output)")
        print(answer.output)
    }
}
