import FoundationEssentials
import Glibc
import Platform
import TestSupport
import Testing

/// A sidecar and receivers that behave well and badly, on loopback.
private final class Receivers {
    let directory: String
    let ports: [Int]
    var programs: [Program] = []
    var sidecar: Program?
    let http = HTTPClient(name: "e2e-receivers")

    init() throws {
        directory = try scratch()
        ports = try freePorts(4)
    }

    deinit {
        http.shutdown()
        try? FileSystem.removeTree(directory)
    }

    var url: String { "http://127.0.0.1:\(ports[0])" }

    func write(_ text: String, _ name: String) throws {
        try AtomicFile.write(Array(text.utf8), to: directory + "/" + name)
    }

    func startSink(_ port: Int, _ name: String) throws {
        programs.append(
            try Program(
                ["/usr/bin/python3", root + "/Tests/EndToEndTests/receivers.py", "http", "\(port)"],
                log: "\(directory)/\(name)"))
    }

    func startSidecar() async throws {
        let sidecar = try Program(
            [binary, "run", "--config", directory + "/kops-sidecar.yaml"], log: directory + "/sidecar.log")
        self.sidecar = sidecar
        try await eventually("ready") {
            if let status = sidecar.exitStatus { throw TestProblem("it ended with \(status): \(sidecar.text)") }
            return (try? await request("GET", "/-/ready", nil))?.status == 200
        }
    }

    func request(_ method: String, _ path: String, _ body: String?) async throws -> HTTPResponse {
        var request = HTTPRequest(method, url + path)
        request.timeout = .seconds(90)
        if let body {
            request.body = Array(body.utf8)
            request.headers = [("Content-Type", "application/json")]
        }
        return try await http.send(request)
    }

    func post(_ labels: String) async throws {
        #expect(try await request("POST", "/api/v2/alerts", "[{\"labels\":{\(labels)}}]").status == 200)
    }

    /// The lines of a sink's log that tell of a path.
    func requests(_ path: String, in name: String = "sink") -> [String] {
        let text = (try? FileSystem.readText("\(directory)/\(name)", maxBytes: 64 << 20)) ?? ""
        return text.split(separator: "\n").map(String.init).filter {
            $0.split(separator: " ", maxSplits: 3).dropFirst().first.map(String.init) == path
        }
    }

    func time(_ line: String?) -> Double { Double(line?.split(separator: " ").first ?? "") ?? 0 }

    func metric(_ start: String) async throws -> String? {
        try await request("GET", "/metrics", nil).bodyText.split(separator: "\n").map(String.init).first {
            $0.hasPrefix(start)
        }
    }
}

@Suite(.serialized, .enabled(if: isInstalled("python3"), "python3 must be installed: scripts/deps test"))
struct NotificationDeliveryTests {
    /// What answers badly is tried again, given up or waited for, each alone; what is killed goes on where it was.
    @Test func badReceiversCostOnlyThemselvesAndAKillLosesNothing() async throws {
        let scene = try Receivers()
        let sink = "http://127.0.0.1:\(scene.ports[1])"
        let late = "http://127.0.0.1:\(scene.ports[2])"
        func receiver(_ name: String, _ url: String) -> String {
            "{name: \(name), webhook_configs: [{url: '\(url)'}]}"
        }
        try scene.write(
            """
            global: {evaluation_interval: 1s}
            http: {listen: "127.0.0.1:\(scene.ports[0])"}
            storage: {path: \(scene.directory)/data}
            rule_files: [rules.yaml]
            alerting:
              alert_relabel_configs: [{action: labeldrop, regex: secret}]
              alertmanagers:
                - path_prefix: /am
                  static_configs: [{targets: ["127.0.0.1:\(scene.ports[1])", "dropped:1"]}]
                  relabel_configs: [{action: drop, source_labels: [__address__], regex: 'dropped:.*'}]
            notifications:
              route:
                receiver: ok
                group_by: [alertname]
                group_wait: 100ms
                group_interval: 3s
                repeat_interval: 4h
                routes:
                  - {receiver: flaky, matchers: [kind="all"], continue: true}
                  - {receiver: busy, matchers: [kind="all"], continue: true}
                  - {receiver: refuse, matchers: [kind="all"], continue: true}
                  - {receiver: hang, matchers: [kind="all"], continue: true}
                  - {receiver: late, matchers: [kind="all"], continue: true}
                  - {receiver: ok, matchers: [kind="all"]}
              receivers:
                - \(receiver("flaky", "\(sink)/flaky/2"))
                - \(receiver("busy", "\(sink)/busy"))
                - \(receiver("refuse", "\(sink)/refuse"))
                - \(receiver("hang", "\(sink)/hang"))
                - \(receiver("late", "\(late)/late"))
                - name: ok
                  webhook_configs: [{url: '\(sink)/ok'}]
                  heartbeat: {url: '\(sink)/ping', interval: 1s, method: POST}
                - name: beating
                  webhook_configs: [{url: '\(sink)/beat'}]
                  heartbeat: {interval: 1h}
            """, "kops-sidecar.yaml")
        try scene.write(
            "groups: [{name: g, rules: [{alert: Always, expr: vector(1), labels: {secret: x, kept: y}}]}]", "rules.yaml"
        )
        try scene.startSink(scene.ports[1], "sink")
        try await scene.startSidecar()
        try await scene.post("\"alertname\":\"A\",\"kind\":\"all\"")

        try await eventually("the good one is told at once") { scene.requests("/ok").contains { $0.contains("\"A\"") } }
        try await eventually("the flaky one is told at the third try") { scene.requests("/flaky/2").count == 3 }
        try await eventually("the busy one is told at the second try") { scene.requests("/busy").count == 2 }
        let busy = scene.requests("/busy").map(scene.time)
        #expect(busy[1] - busy[0] >= 1, "it waited as long as it was asked to")
        try await eventually("the refusing one is asked once a flush") { scene.requests("/refuse").count >= 2 }
        let refused = scene.requests("/refuse").map(scene.time)
        let again = try await scene.metric("kops_notification_retries_total{receiver=\"refuse\"")
        #expect(again == nil, "a refusal is not tried again")
        // Each has ten seconds.
        let hung = scene.requests("/hang").map(scene.time)
        #expect(zip(hung, hung.dropFirst()).allSatisfy { $1 - $0 > 5 }, "\(hung)")
        #expect(
            try await scene.metric(
                "kops_notifications_failed_total{receiver=\"refuse\",integration=\"webhook\",reason=\"clientError\"}")
                != nil)
        #expect(try await scene.metric("kops_notification_retries_total{receiver=\"flaky\"") != nil)

        try await eventually("the external Alertmanager is told by the rule, relabelled") {
            scene.requests("/am/api/v2/alerts").contains { $0.contains("\"kept\":\"y\"") && !$0.contains("secret") }
        }
        let alertmanagers = try await scene.request("GET", "/api/v1/alertmanagers", nil).bodyText
        #expect(alertmanagers.contains("\"activeAlertmanagers\":[{\"url\":\"\(sink)/am/api/v2/alerts\"}]"))
        #expect(try await scene.metric("prometheus_notifications_alertmanagers_discovered 1") != nil)

        try await eventually("the heart beats by URL") { scene.requests("/ping").count >= 3 }
        try await eventually("and by message") { scene.requests("/beat").count == 1 }
        #expect(scene.requests("/beat").first?.contains("Heartbeat") == true)

        // Killed while the late one has not been reached: it hears of the alert all the same, the others not again.
        let told = scene.requests("/flaky/2").count
        scene.sidecar?.stop(SIGKILL)
        try scene.startSink(scene.ports[2], "late")
        try await scene.startSidecar()
        try await eventually("the late one is told after the kill") { !scene.requests("/late", in: "late").isEmpty }
        try await eventually("the refusing one is still asked") { scene.requests("/refuse").count > refused.count + 1 }
        #expect(scene.requests("/flaky/2").count == told, "who was told is not told again")
        #expect(scene.requests("/late", in: "late").count == 1)
        #expect(scene.requests("/beat").count == 1, "a message heartbeat keeps its interval over a restart")
        #expect(scene.sidecar?.stop() == 0)
        let left = try FileSystem.list(scene.directory + "/data").filter {
            $0.hasSuffix("-wal") || $0.hasSuffix("-shm")
        }
        #expect(left == [], "a clean stop leaves SQLite's files alone")
    }

    private static let motoPython = root + "/.build/test-tools/moto/bin/python3"

    /// Published with a signature that moto checks, and delivered to a queue; a wrong key is told and not tried again at once.
    @Test(.enabled(if: FileSystem.exists(motoPython), "needs moto: scripts/test-tools"))
    func messagesAreSignedForSNS() async throws {
        struct Ready: Decodable {
            var port: Int
            var topic: String
            var accessKey: String
            var secretKey: String

            enum CodingKeys: String, CodingKey {
                case port, topic
                case accessKey = "access_key"
                case secretKey = "secret_key"
            }
        }
        struct Message: Decodable {
            var text: String
            var subject: String?
            var attributes: [String: [String: String]]?

            enum CodingKeys: String, CodingKey {
                case text = "Message"
                case subject = "Subject"
                case attributes = "MessageAttributes"
            }
        }
        let scene = try Receivers()
        scene.programs.append(
            try Program([Self.motoPython, root + "/Tests/EndToEndTests/sns_server.py"], log: scene.directory + "/sns"))
        func lines<T: Decodable>(_ type: T.Type) -> [T] {
            ((try? FileSystem.readText(scene.directory + "/sns")) ?? "").split(separator: "\n").compactMap {
                try? JSONDecoder().decode(type, from: Data($0.utf8))
            }
        }
        try await eventually("moto serves: \(scene.programs[0].text)") { !lines(Ready.self).isEmpty }
        let ready = try #require(lines(Ready.self).first)
        func receiver(_ name: String, _ secret: String) -> String {
            """
            - name: \(name)
              sns_configs:
                - {api_url: 'http://127.0.0.1:\(ready.port)', topic_arn: '\(ready.topic)', attributes: {team: '{{ .CommonLabels.team }}'},
                   sigv4: {region: eu-west-1, access_key: '\(ready.accessKey)', secret_key: '\(secret)'}}
            """.split(separator: "\n").map { "    " + $0 }.joined(separator: "\n")
        }
        try scene.write(
            """
            http: {listen: "127.0.0.1:\(scene.ports[0])"}
            storage: {path: \(scene.directory)/data}
            notifications:
              route: {receiver: good, group_by: [alertname], group_wait: 0s, group_interval: 1s, routes: [{receiver: bad, matchers: [k=bad]}]}
              receivers:
            \(receiver("good", ready.secretKey))
            \(receiver("bad", "wrong"))
            """, "kops-sidecar.yaml")
        try await scene.startSidecar()
        try await scene.post(#""alertname":"Disk & co","team":"ä=b+c""#)
        try await scene.post(#""alertname":"B","k":"bad""#)
        try await eventually("the queue has it") { lines(Message.self).count == 1 }
        let message = try #require(lines(Message.self).first)
        #expect(
            message.subject == "[FIRING:1] Disk & co (ä=b+c)" || message.subject?.hasPrefix("[FIRING:1] Disk") == true)
        #expect(message.text.contains("alertname = Disk & co") && message.text.contains("team = ä=b+c"))
        #expect(message.attributes?["team"]?["Value"] == "ä=b+c")
        try await eventually("the wrong key is told") {
            try await scene.metric(
                "kops_notifications_failed_total{receiver=\"bad\",integration=\"sns\",reason=\"clientError\"}") != nil
        }
        #expect(lines(Message.self).count == 1)
        #expect(scene.sidecar?.stop() == 0)
    }

    /// One issue a group: begun, updated, closed, opened again; a Jira that fails at first is asked again and gets no second one.
    @Test func aGroupIsOneIssueInJira() async throws {
        let scene = try Receivers()
        let jira = "http://127.0.0.1:\(scene.ports[1])/rest/api/2"
        try scene.write(
            """
            http: {listen: "127.0.0.1:\(scene.ports[0])"}
            storage: {path: \(scene.directory)/data}
            notifications:
              global: {jira_api_url: '\(jira)'}
              route: {receiver: jira, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}
              receivers:
                - name: jira
                  jira_configs:
                    - project: OPS
                      issue_type: Bug
                      summary: '{{ .GroupLabels.alertname }} "{{ .Status }}" {{ .CommonLabels.long }}'
                      labels: [alerts]
                      reopen_transition: Reopen
                      resolve_transition: Close
                      reopen_duration: 1h
                      fields: {customfield_7: {value: '{{ len .Alerts }}'}, customfield_8: 3}
            """, "kops-sidecar.yaml")
        scene.programs.append(
            try Program(
                ["/usr/bin/python3", root + "/Tests/EndToEndTests/jira_standin.py", "\(scene.ports[1])", "503", "1"],
                log: scene.directory + "/jira"))
        try await scene.startSidecar()
        func requests() -> [Substring] {
            ((try? FileSystem.readText(scene.directory + "/jira")) ?? "").split(separator: "\n")
        }
        func last(_ method: String, _ path: String) -> Substring? {
            requests().last {
                $0.contains(#""method": "\#(method)""#) && $0.contains(#""path": "/rest/api/2/\#(path)""#)
            }
        }
        let long = String(repeating: "x", count: 300)
        func post(_ more: String) async throws {
            let body = #"[{"labels":{"alertname":"A","severity":"critical","long":"\#(long)"}\#(more)}]"#
            #expect(try await scene.request("POST", "/api/v2/alerts", body).status == 200)
        }
        try await post("")
        try await eventually("an issue is begun") { last("POST", "issue") != nil }
        let begun = last("POST", "issue") ?? ""
        #expect(begun.contains(#""customfield_7": {"value": "1"}, "customfield_8": 3"#), "\(begun)")
        #expect(begun.contains(#""priority": {"name": "High"}"#) && begun.contains(#""project": {"key": "OPS"}"#))
        #expect(begun.contains(#""labels": ["ALERT{"#) && begun.contains(#"", "alerts"]"#))
        #expect(begun.contains(#""summary": "A \"firing\" "#) && begun.contains("xx\\u2026\""), "cut to 255 characters")
        try await post(#","endsAt":"2026-01-01T00:00:00Z""#)
        try await eventually("it is closed") {
            last("POST", "issue/OPS-1/transitions")?.contains(#""id": "31""#) == true
        }
        #expect(last("PUT", "issue/OPS-1")?.contains("resolved") == true)
        try await post("")
        try await eventually("it is opened again") {
            last("POST", "issue/OPS-1/transitions")?.contains(#""id": "41""#) == true
        }
        #expect(requests().filter { $0.contains(#""path": "/rest/api/2/issue""#) }.count == 1)
        #expect(scene.sidecar?.stop() == 0)
    }

    @Test(
        .enabled(if: isInstalled("openssl"), "openssl must be installed: scripts/deps test"))
    func mailGoesOverStartTLSWithAPasswordAndNotWithout() async throws {
        let scene = try Receivers()
        let made = try await shell(
            "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout \(scene.directory)/key.pem -out \(scene.directory)/cert.pem"
        )
        #expect(made.status == 0, "\(made.output)")
        try scene.write("secret\n", "password")
        func receiver(_ name: String, _ password: String, _ more: String) -> String {
            """
            - name: \(name)
              email_configs:
                - {to: 'Ops <ops@example.org>, second@example.org', from: kops@example.org, smarthost: '127.0.0.1:\(scene.ports[1])',
                   auth_username: kops, \(password), send_resolved: true, tls_config: {ca_file: cert.pem}, \(more)}
            """.split(separator: "\n").map { "      " + $0 }.joined(separator: "\n")
        }
        try scene.write(
            """
            http: {listen: "127.0.0.1:\(scene.ports[0])"}
            storage: {path: \(scene.directory)/data}
            notifications:
              route: {receiver: good, group_by: [alertname], group_wait: 100ms, group_interval: 2s, routes: [{receiver: bad, matchers: [k=bad]}]}
              receivers:
            \(receiver("good", "auth_password_file: password", "text: 'plain {{ .Status }} ü', threading: {enabled: true}"))
            \(receiver("bad", "auth_password: wrong", "html: x"))
            """, "kops-sidecar.yaml")
        scene.programs.append(
            try Program(
                [
                    "/usr/bin/python3", root + "/Tests/EndToEndTests/receivers.py", "mail", "\(scene.ports[1])",
                    scene.directory + "/cert.pem", scene.directory + "/key.pem",
                ], log: scene.directory + "/mail"))
        func mail() -> String { (try? FileSystem.readText(scene.directory + "/mail")) ?? "" }
        try await eventually("the mail server serves") { mail().contains("serving") }
        try await scene.startSidecar()
        try await scene.post("\"alertname\":\"Müde\"")
        try await scene.post("\"alertname\":\"B\",\"k\":\"bad\"")
        try await eventually("the mail came, over TLS and as the user") {
            mail().contains("TLS True USER kops TO ['ops@example.org', 'second@example.org']")
        }
        for part in [
            "Content-Type: text/plain; charset=UTF-8", "Content-Type: text/html; charset=UTF-8", "plain firing =C3=BC",
            "Auto-Submitted: auto-generated", "In-Reply-To: <alert-", "multipart/alternative",
        ] {
            try await eventually("\(part) is in it") { mail().contains(part) }
        }
        try await eventually("the wrong password is told") {
            try await scene.metric("kops_notification_retries_total{receiver=\"bad\",integration=\"email\"") != nil
        }
        let log = scene.sidecar?.text ?? ""
        #expect(!log.contains("wrong") && !log.contains("secret"), "no password stands in the log")
        #expect(scene.sidecar?.stop() == 0)
    }
}
