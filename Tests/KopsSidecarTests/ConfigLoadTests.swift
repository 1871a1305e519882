import KopsSidecar
import Monitoring
import Platform
import Testing

/// Whole files as `check config` reads them.
@Suite struct ConfigLoadTests {
    /// The findings on a file with this text, without its name; the configuration where there are none.
    private func load(_ text: String, _ others: [String: String] = [:]) throws -> (SidecarConfig?, [String]) {
        let directory = try FileSystem.makeTemporaryDirectory("/tmp/kops-config-")
        defer { try? FileSystem.removeTree(directory) }
        for (name, text) in others { try AtomicFile.write(Array(text.utf8), to: directory + "/" + name) }
        let file = directory + "/kops-sidecar.yaml"
        try AtomicFile.write(Array(text.utf8), to: file)
        do {
            return (try SidecarConfig.load(file), [])
        } catch {
            return (nil, error.issues.map { "\($0.line):\($0.column): \($0.message)" })
        }
    }

    private func relabel(_ step: String) -> String {
        "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - {\(step)}\n"
    }

    /// What Prometheus 3 refuses when it reads the file.
    @Test(arguments: [
        ("action: labeldrop, regex: a, source_labels: [b]", "labeldrop action requires only 'regex'"),
        ("action: labeldrop, regex: a, target_label: b", "labeldrop action requires only 'regex'"),
        ("action: labelkeep, regex: a, replacement: b", "labelkeep action requires only 'regex'"),
        ("action: labelkeep, regex: a, separator: '-'", "labelkeep action requires only 'regex'"),
        ("action: labelkeep, regex: a, modulus: 3", "labelkeep action requires only 'regex'"),
        ("action: keepequal, source_labels: [a], target_label: b, regex: x", "keepequal action requires only"),
        ("action: dropequal, source_labels: [a], target_label: b, separator: ','", "dropequal action requires only"),
        ("action: lowercase, source_labels: [a], target_label: b, replacement: x", "'replacement' can not be set"),
        ("action: uppercase, source_labels: [a], target_label: b, replacement: x", "'replacement' can not be set"),
        ("action: replace, target_label: b, replacemenxt: x", "did you mean replacement?"),
        ("action: , target_label: b", "relabel action cannot be empty"),
        ("source_labels: [a, ''], target_label: b", "\"\" is not a valid label name"),
    ])
    func relabellingWithFieldsThatDoNothingIsRefused(step: String, expected: String) throws {
        let (_, findings) = try load(relabel(step))
        #expect(findings.count == 1 && findings.first?.contains(expected) == true, "\(findings)")
    }

    /// Defaults that are written down change nothing, as operators write them.
    @Test(arguments: [
        "action: labeldrop, regex: a, separator: ;, replacement: $1", "action: labelkeep, regex: a",
        "action: keepequal, source_labels: [a], target_label: b, separator: ;, regex: (.*)",
        "action: lowercase, source_labels: [a], target_label: b, replacement: $1", "target_label: b, replacement: ''",
    ])
    func relabellingWithWrittenDefaultsIsTaken(step: String) throws {
        #expect(try load(relabel(step)).1 == [])
    }

    @Test(arguments: [
        (
            "scrape_configs: [{job_name: a, static_configs: [{targets: ['http://b:1']}]}]",
            "\"http://b:1\" is not a valid hostname"
        ),
        (
            "alerting: {alertmanagers: [{static_configs: [{targets: ['b:1/x']}]}]}",
            "\"b:1/x\" is not a valid hostname"
        ),
        (
            "scrape_configs: [{job_name: a, kubernetes_sd_configs: [{role: pod, api_server: 'https://a', namespaces: {own_namespace: true}}]}]",
            "cannot use 'api_server' and 'namespaces.own_namespace' simultaneously"
        ),
        (
            "scrape_configs: [{job_name: a, kubernetes_sd_configs: [{role: pod, selectors: [{role: pod, field: status-x}]}]}]",
            "invalid selector: 'status-x'"
        ),
        (
            "scrape_configs: [{job_name: a, metric_name_validation_scheme: legacy, metric_name_escaping_scheme: allow-utf-8}]",
            "validation scheme is not set to UTF8"
        ),
        ("scrape_configs: [{job_name: a, scrape_protocols: []}]", "scrape_protocols cannot be empty"),
        ("scrape_configs: [{job_name: a, http_sd_configs: [{url: a}]}]", "url must begin with http:// or https://"),
        (
            "scrape_configs: [{job_name: a, tls_config: {cert_file: '', key_file: k}}]",
            "a certificate and its key come together"
        ),
        ("runtime: {gogcc: 75}", "did you mean gogc?"), ("remote_write: [{url: ''}]", "remote_write[0].url is empty"),
        ("backup: {schedule: '@daily', destinations: [{name: '', path: /b}]}", "destinations[0].name is empty"),
        ("backup: {schedule: '@daily', destinations: [{name: a, path: ''}]}", "destinations[0].path is empty"),
        ("notifications: {routxe: {receiver: a}, receivers: [{name: a}]}", "did you mean route?"),
        (
            "notifications: {route: {receiver: a, routes: [{receiver: a, match_re: {x: }}]}, receivers: [{name: a}]}",
            "invalid regexp value for \"x\""
        ),
        (
            "notifications: {route: {receiver: a}, receivers: [{name: a}], inhibit_rules: [{equal: ['']}]}",
            "equal: a label name must not be empty"
        ),
        (
            "notifications: {route: {receiver: ''}, receivers: [{name: a}]}", "the root route must name a receiver"
        ),
        (
            "notifications: {route: {receiver: a}, receivers: [{name: a}], templates: [loop.tmpl]}",
            "calls itself without a condition"
        ),
    ])
    func mistakesAreNamed(text: String, expected: String) throws {
        let (_, findings) = try load(text, ["loop.tmpl": "{{ define \"x\" }}{{ template \"x\" . }}{{ end }}"])
        #expect(findings.contains { $0.contains(expected) }, "\(findings)")
    }

    @Test func aRouteWithAnEmptyReceiverTakesItsParents() throws {
        let (config, findings) = try load(
            "notifications: {route: {receiver: a, routes: [{receiver: '', matchers: [b=c]}]}, receivers: [{name: a}]}")
        #expect(findings == [] && config?.notifications?.alertmanager.route.routes.first?.receiver == nil)
    }

    /// The service and every command look at the same place, whether the file names it or not.
    @Test func dataHasAPlaceThatTheFileNeedNotName() throws {
        #expect(StorageConfig(of: "/etc/kops-sidecar/kops-sidecar.yaml").path == "/var/lib/kops-sidecar")
        #expect(StorageConfig(of: "prometheus.yml").path == "./data")
        for text in ["", "scrape_configs: []\n", "storage: {retention: {time: 1d}}\n"] {
            #expect(try load(text).0?.storage.path == "./data")
        }
        #expect(try load("storage: {path: /elsewhere}\n").0?.storage.path == "/elsewhere")
        // The shipped unit keeps its state there and reads its configuration from there.
        let unit = try FileSystem.readText(
            #filePath.split(separator: "/Tests/")[0] + "/systemd/kops-sidecar.service")
        let lines = unit.split(separator: "\n")
        let state = try #require(lines.first { $0.hasPrefix("StateDirectory=") }).dropFirst("StateDirectory=".count)
        let start = try #require(lines.first { $0.hasPrefix("ExecStart=") })
        let file = try #require(start.split(separator: " ").last)
        #expect(StorageConfig(of: String(file)).path == "/var/lib/" + state)
    }

    /// Each secret has a text of its own, which must be nowhere in what is served.
    @Test func noSecretIsServed() throws {
        let (config, findings) = try load(
            """
            scrape_configs:
            - {job_name: a, basic_auth: {username: shown1, password: HIDDEN1}, params: {token: [shown2]}}
            - {job_name: b, authorization: {credentials: HIDDEN2}, proxy_url: 'http://shown3:HIDDEN3@p:1'}
            - {job_name: c, http_headers: {X-A: {secrets: [HIDDEN4], values: [shown4]}, X-Api-Key: {values: [HIDDEN5]}}}
            - {job_name: d, oauth2: {client_id: shown5, client_secret: HIDDEN6, token_url: 'http://u:HIDDEN7@h/'}}
            - {job_name: e, bearer_token: HIDDEN8, http_sd_configs: [{url: 'http://u:HIDDEN9@h/sd'}]}
            remote_write: [{url: 'http://h/w', headers: {X-Token: HIDDEN10, X-Scope-OrgID: shown6}}]
            notifications:
              global: {telegram_bot_token: HIDDEN11, slack_api_url: 'http://HIDDEN12/', smtp_auth_password: HIDDEN13}
              route: {receiver: shown7}
              receivers:
              - name: shown7
                webhook_configs: [{url: 'http://HIDDEN14/', http_config: {basic_auth: {username: a, password: HIDDEN15}}}]
                pushover_configs: [{user_key: HIDDEN16, token: HIDDEN17}]
                telegram_configs: [{bot_token: HIDDEN18, chat_id: 1}, {bot_token_file: shown8, chat_id: 1}]
            """)
        #expect(findings == [])
        let served = (config?.redacted ?? "") + (config?.notifications?.alertmanager.original ?? "")
        #expect(!served.contains("HIDDEN"), "\(served)")
        for number in 1...8 { #expect(served.contains("shown\(number)"), "shown\(number) in \(served)") }
        // amtool reads the routes from it.
        #expect(config?.notifications?.alertmanager.original.contains("receiver: shown7") == true)
    }

    @Test func aURLThatRelabellingMakesATargetOfIsTaken() throws {
        let (config, findings) = try load(
            """
            scrape_configs:
            - job_name: blackbox
              static_configs: [{targets: ['https://example.com/x']}]
              relabel_configs:
              - {source_labels: [__address__], target_label: __param_target}
              - {target_label: __address__, replacement: '127.0.0.1:9115'}
            """)
        #expect(findings == [] && config != nil)
    }

    @Test func filesThatCannotBeReadAreToldWithTheirPlace() throws {
        let (config, findings) = try load(
            """
            scrape_configs:
            - job_name: a
              basic_auth: {username: a, password_file: there}
              tls_config: {ca_file: /nowhere/ca.crt}
            etcd: {endpoints: ['https://127.0.0.1:1'], key: missing.key}
            global: {query_log_file: /nowhere/query.log}
            notifications:
              route: {receiver: a}
              receivers: [{name: a, webhook_configs: [{url_file: /nowhere/url}]}]
            """, ["there": "secret"])
        #expect(findings == [])
        let told = (config?.unreadableFiles ?? []).map { "\($0.line):\($0.column): \($0.message)" }
        #expect(told.count == 3)
        #expect(told.contains { $0.hasPrefix("4:25: warning: scrape_configs[0].tls_config.ca_file: ") })
        #expect(told.contains { $0.contains("etcd.key") && $0.contains("missing.key: No such file or directory") })
        #expect(told.contains { $0.contains("url_file") && $0.contains("/nowhere/url") })
    }
}
