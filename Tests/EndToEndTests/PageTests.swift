import Glibc
import Platform
import TestSupport
import Testing

/// The page in a real browser: what it shows must come from this sidecar's API under the page's own content policy.
@Suite(.serialized) struct PageTests {
    private static let browser = "/usr/bin/chromium"

    private func startSidecar(_ directory: String, port: Int) async throws -> Program {
        let rules = """
            groups:
              - name: g
                rules:
                  - {alert: AlwaysOn, expr: vector(1), labels: {severity: warning}, annotations: {summary: "the page shows <this>"}}
            """
        let configuration = """
            global: {scrape_interval: 1s, evaluation_interval: 1s}
            scrape_configs: [{job_name: own, static_configs: [{targets: [self]}]}]
            rule_files: [\(directory)/rules.yaml]
            cluster: {name: page-test}
            storage: {path: \(directory)/data}
            http: {listen: "127.0.0.1:\(port)"}
            """
        try AtomicFile.write(Array(rules.utf8), to: directory + "/rules.yaml")
        try AtomicFile.write(Array(configuration.utf8), to: directory + "/kops-sidecar.yaml")
        let sidecar = try Program(
            [binary, "run", "--config", directory + "/kops-sidecar.yaml"], log: directory + "/sidecar.log")
        let http = HTTPClient(name: "page")
        defer { http.shutdown() }
        try await eventually("the alert fires") {
            if let status = sidecar.exitStatus { throw TestProblem("it ended with \(status): \(sidecar.text)") }
            let answer = try? await http.send(HTTPRequest("GET", "http://127.0.0.1:\(port)/api/v1/alerts"))
            return answer?.bodyText.contains("firing") ?? false
        }
        return sidecar
    }

    private func render(_ url: String, in directory: String) async throws -> String {
        let answer = try await shell(
            "timeout 300 \(Self.browser) --headless --no-sandbox --disable-gpu --enable-logging=stderr "
                + "--user-data-dir=\(directory)/browser --virtual-time-budget=8000 --dump-dom '\(url)'")
        guard answer.status == 0 else { throw TestProblem("the browser ended with \(answer.status): \(answer.output)") }
        return answer.output
    }

    @Test(.enabled(if: isInstalled("chromium"), "needs chromium"))
    func everyViewShowsWhatTheAPISays() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let port = try freePorts(1)[0]
        let sidecar = try await startSidecar(directory, port: port)
        defer { sidecar.stop() }
        let overview = try await render("http://127.0.0.1:\(port)/", in: directory)
        #expect(overview.contains("1 firing"))
        #expect(overview.contains("page-test"))
        #expect(overview.contains("1 of 1"))
        // Text of an annotation is text, never markup.
        #expect(overview.contains("the page shows &lt;this&gt;"))
        for (view, shown) in [
            ("alerts", "AlwaysOn"), ("targets", "http://self/metrics"), ("rules", "vector(1)"),
            ("backups", "no backups yet"),
            ("query?expr=sum(up)&range=0", "<td class=\"tight\">1</td>"),
        ] {
            let page = try await render("http://127.0.0.1:\(port)/#\(view)", in: directory)
            #expect(page.contains(shown), "\(view) lacks \(shown)")
            // A script that fails, or that the content policy stops, says so on the console.
            #expect(!page.contains("Uncaught"), "\(view): \(page)")
            #expect(!page.contains("Content Security Policy"), "\(view)")
        }
    }
}
