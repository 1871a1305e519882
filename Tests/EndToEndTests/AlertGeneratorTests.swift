import Platform
import Testing

/// What rules tell Alertmanagers, beside a real Prometheus: scripts/alert-generator-diff in its short form.
@Suite(.enabled(if: isInstalled("prometheus", "python3"), "needs the Debian packages prometheus and python3"))
struct AlertGeneratorTests {
    @Test(.timeLimit(.minutes(10))) func alertsBeginResolveAndBeginAgainAsInPrometheus() async throws {
        let answer = try await shell("cd \(root) && scripts/alert-generator-diff --sidecar \(binary)")
        #expect(answer.status == 0, "\(answer.output)")
        print(answer.output)
    }
}
