import KopsSidecar
import Monitoring
import Platform
import Testing

@Suite struct NotificationsDecoderTests {
    private func decode(_ text: String) throws -> (NotificationsConfig?, [String]) {
        let issues = ConfigIssues()
        let node = try #require(try ConfigNode.parse(Array(text.utf8), file: "am.yml"))
        let section = try #require(ConfigSection(node, issues))
        return (decodeNotifications(section), issues.all.map(\.description))
    }

    @Test func anAlertmanagerFileIsTakenAsItIs() throws {
        let (config, issues) = try decode(
            """
            global:
              smtp_smarthost: 'localhost:25'
              smtp_from: 'a@example.org'
              slack_api_url_file: /run/slack
              resolve_timeout: 10m
            templates: ['/nowhere/*.tmpl']
            route:
              group_by: ['alertname', cluster]
              group_wait: 30s
              receiver: mails
              routes:
                - matchers: [severity=~"critical|page", 'team!="x"']
                  receiver: pages
                  continue: true
                  mute_time_intervals: [nights]
                - match: {old: style}
                  match_re: {old: st.*}
            inhibit_rules:
              - source_matchers: [severity="critical"]
                target_matchers: [severity="warning"]
                equal: [alertname, cluster]
            time_intervals:
              - name: nights
                time_intervals:
                  - times: [{start_time: '22:00', end_time: '24:00'}]
                    weekdays: ['monday:friday']
                    location: Europe/Berlin
            receivers:
              - name: mails
                email_configs: [{to: 'ops@example.org', headers: {Subject: '{{ template "email.default.subject" . }}'}}]
              - name: pages
                pagerduty_configs: [{service_key: secret}]
                slack_configs: [{channel: '#ops', send_resolved: true}]
                webhook_configs: [{url: 'http://127.0.0.1:1/', http_config: {basic_auth: {username: a, password: b}}}]
            """)
        #expect(issues.isEmpty)
        let alertmanager = try #require(config?.alertmanager)
        #expect(alertmanager.resolveTimeout == 600_000)
        #expect(alertmanager.route.routes.map(\.matchers.count) == [2, 2])
        #expect(alertmanager.receivers.map(\.integrations.count) == [1, 3])
        #expect(alertmanager.receivers[1].integrations.map(\.kind) == [.webhook, .pagerduty, .slack])
        #expect(alertmanager.receivers[0].integrations[0].text("from") == "a@example.org")
        #expect(alertmanager.receivers[1].integrations[2].secret("api_url") == .file("/run/slack"))
    }

    @Test(arguments: [
        ("route: {receiver: a}\nreceivers: [{name: b}]", "am.yml:1:19: undefined receiver \"a\" used in route"),
        ("route: {receiver: a, matchers: [x=1]}\nreceivers: [{name: a}]", "the root route must not have any matchers"),
        ("route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{}]}]", "missing url in webhook config"),
        ("route: {receiver: a}\nreceivers: [{name: a}, {name: a}]", "receiver \"a\" is there twice"),
        ("route: {receiver: a, group_bye: [x]}\nreceivers: [{name: a}]", "did you mean group_by?"),
        (
            "route: {receiver: a}\nreceivers: [{name: a, webhook_configs: [{url: x}], slack_configs: [{channel: c, api_url: u, title: '{{ nope }}'}]}]",
            "function \"nope\" not defined"
        ),
        ("receivers: [{name: a}]", "no route is given"),
    ])
    func mistakesAreNamed(text: String, expected: String) throws {
        let (config, issues) = try decode(text)
        #expect(config == nil)
        #expect(issues.contains { $0.contains(expected) }, "\(issues)")
    }

    /// What Alertmanager 0.28 says of each configuration, as its `amtool check-config` was asked.
    @Test func everyGoodFileLoadsAndEveryBadOneIsRefused() throws {
        let cases = try ConfigurationCase.all()
        #expect(cases.count > 200)
        for one in cases {
            let issues = ConfigIssues()
            var config: NotificationsConfig?
            do {
                if let node = try ConfigNode.parse(Array(one.text.utf8), file: "am.yml"),
                    let section = ConfigSection(node, issues)
                {
                    config = decodeNotifications(section)
                }
            } catch {
                issues.add(error)
            }
            let found = issues.all.map(\.description)
            #expect((config != nil) == one.isGood, "\(one.name): \(found)")
            if !one.isGood, !one.text.isEmpty, one.name != "no-receivers" {
                #expect(found.count == 1, "\(one.name) is wrong in one point: \(found)")
            }
            #expect(found.allSatisfy { !$0.contains("\n") })
        }
    }
}

private struct ConfigurationCase {
    let name: String
    let isGood: Bool
    var text = ""

    static func all() throws -> [ConfigurationCase] {
        let folder = #filePath.split(separator: "/").dropLast().joined(separator: "/")
        var out: [ConfigurationCase] = []
        for line in try FileSystem.readText("/\(folder)/alertmanager-configs.txt").split(
            separator: "\n", omittingEmptySubsequences: false)
        {
            let words = line.split(separator: " ")
            if line.hasPrefix("=== "), words.count == 3 {
                out.append(ConfigurationCase(name: String(words[2]), isGood: words[1] == "good"))
            } else if let last = out.indices.last, !(line.isEmpty && out[last].text.isEmpty) {
                out[last].text += line + "\n"
            }
        }
        return out
    }
}
