import ClusterOps
import KopsSidecar
import Platform
import Testing

/// `certificates:`, `jobs:` and `audit:` as a whole file.
@Suite struct OperationsDecoderTests {
    private func load(_ text: String) throws -> (SidecarConfig?, [String]) {
        let path = "/tmp/kops-test-config-\(UInt64.random(in: 0 ... .max)).yaml"
        defer { try? FileSystem.removeFile(path) }
        try AtomicFile.write(Array(text.utf8), to: path)
        do throws(ConfigProblems) {
            return (try SidecarConfig.load(path), [])
        } catch {
            return (nil, error.issues.map(\.message))
        }
    }

    @Test func takesEveryKey() throws {
        let (config, problems) = try load(
            """
            certificates:
              schedule: "@daily"
              timezone: Europe/Berlin
              window: {days: [sat, Sunday], from: "22:00", to: "04:00"}
              renew_before: 40d
              restart: false
              kubeadm: /usr/local/bin/kubeadm
              config: kubeadm.yaml
              copies: [/root/.kube/config]
            jobs:
              leader: lease
              lease: {namespace: ops, name: kops, identity: cp1, duration: 30s, renew_deadline: 20s, retry_period: 5s}
            audit:
              retention: 30d
              loki: {url: "http://loki:3100/", basic_auth: {username: a, password: b}}
              elasticsearch: {url: "https://es:9200", index: ops, tls_config: {insecure_skip_verify: true}}
            """)
        #expect(problems == [])
        let certificates = try #require(config?.certificates)
        #expect(certificates.window?.days == [0, 6])
        #expect(certificates.window?.zone.name == "Europe/Berlin")
        #expect(certificates.renewal.renewBefore == 40 * 86_400_000)
        #expect(!certificates.renewal.restart)
        #expect(certificates.renewal.config == "/tmp/kubeadm.yaml")
        #expect(config?.jobs.usesLease == true)
        #expect(config?.jobs.timing.renewDeadline == 20_000)
        #expect(config?.audit.loki?.url == "http://loki:3100")
        #expect(config?.audit.index == "ops")
        #expect(config?.redacted.contains("password: b") == false)
    }

    @Test(arguments: [
        ("certificates: {schedule: \"* * *\"}", "is not a schedule"),
        ("certificates: {schedul: \"@daily\"}", "did you mean schedule"),
        ("certificates: {renew_before: 1h}", "must be from 1d to 360d"),
        ("certificates: {copies: [.kube/config]}", "must be an absolute path"),
        ("certificates: {window: {from: \"2\", to: \"05:00\"}}", "must be a time such as"),
        ("certificates: {window: {from: \"02:00\"}}", "lacks to"),
        ("certificates: {window: {days: [someday], from: \"02:00\", to: \"05:00\"}}", "is no day"),
        ("certificates: {timezone: Mars/Olympus, schedule: \"@daily\"}", "unknown time zone"),
        ("jobs: {leader: maybe}", "must be lease or off"),
        ("jobs: {leader: lease, lease: {duration: 5s}}", "renew_deadline must be less than duration"),
        ("jobs: {leader: off, lease: {name: a}}", "needs jobs.leader: lease"),
        ("audit: {loki: {}}", "lacks url"),
        ("audit: {loki: {url: \"loki:3100\"}}", "must be a URL"),
        ("audit: {retention: 1m}", "at least 1h"),
    ]) func refusesWithALine(text: String, part: String) throws {
        let (config, problems) = try load(text)
        #expect(config == nil)
        #expect(problems.contains { $0.contains(part) }, "\(problems)")
    }
}
