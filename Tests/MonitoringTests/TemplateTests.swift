import MetricModel
import Platform
import Testing

@testable import Monitoring

private func render(_ text: String, html: Bool = false) throws -> String {
    let alert = { (name: String, resolved: Bool) in
        NotifiedAlert(
            alert: RoutedAlert(
                labels: Labels([("alertname", name), ("job", "db"), ("x", "<b>&\"'+")]),
                annotations: Labels([("summary", "S \(name)")]), startsAt: 1_700_000_000_000,
                endsAt: 1_700_000_060_000, generatorURL: "http://p/graph?a=1&b=2", updatedAt: 0, timesOut: false),
            resolved: resolved)
    }
    let data = NotificationData(
        receiver: "team", groupKey: "{}:{job=\"db\"}", groupLabels: Labels([("job", "db")]),
        alerts: [alert("A", false), alert("B", true)], externalURL: "http://am")
    return try NotificationTemplates([
        (
            name: "own.tmpl",
            text: "{{ define \"own\" }}<{{ .Status }}>{{ end }}{{ define \"loop\" }}{{ template \"loop\" . }}{{ end }}"
        )
    ]).render(text, html: html, data)
}

/// What Go's text/template and Alertmanager's functions give, as their documentation says.
@Suite struct TemplateTests {
    @Test(arguments: [
        ("plain", "plain"), ("{{ .Status }} {{ .Receiver }} {{ .ExternalURL }}", "firing team http://am"),
        ("{{ len .Alerts }} {{ len .Alerts.Firing }} {{ .Alerts.Resolved | len }}", "2 1 1"),
        ("{{ range .Alerts }}{{ .Labels.alertname }}={{ .Status }};{{ end }}", "A=firing;B=resolved;"),
        ("{{ range $i, $a := .Alerts }}{{ $i }}{{ $a.Labels.alertname }}{{ end }}", "0A1B"),
        ("{{ range stringSlice }}x{{ else }}none{{ end }}", "none"),
        ("{{ .CommonLabels.SortedPairs }}", "job=db, x=<b>&\"'+"),
        ("{{ .CommonLabels.Names | join \",\" }} {{ .CommonLabels.Values | join \",\" }}", "job,x db,<b>&\"'+"),
        ("{{ (.CommonLabels.Remove (stringSlice \"x\")).SortedPairs.Values | join \"-\" }}", "db"),
        ("{{ with .GroupLabels.job }}[{{ . }}]{{ end }}{{ with .GroupLabels.nope }}x{{ else }}y{{ end }}", "[db]y"),
        ("{{ if and (eq .Status \"firing\") (gt (len .Alerts) 1) }}both{{ else if true }}b{{ end }}", "both"),
        ("{{ if or false (not true) }}a{{ else }}b{{ end }}", "b"),
        ("a  {{- \" b \" -}}  c", "a b c"), ("{{/* a comment */}}x{{- /* two */ -}} y", "xy"),
        ("{{ $x := \"a\" }}{{ if true }}{{ $x = \"b\" }}{{ end }}{{ $x }}", "b"),
        ("{{ toUpper \"ab\" }}{{ toLower \"CD\" }}{{ title \"hello world\" }}", "ABcdHello World"),
        ("{{ trimSpace \"  x \" }}|{{ join \"-\" (stringSlice \"a\" \"b\") }}", "x|a-b"),
        ("{{ match \"^a.c$\" \"abc\" }} {{ reReplaceAll \"(a)(b)\" \"$2$1\" \"xabx\" }}", "true xbax"),
        ("{{ printf \"%05.2f|%-4s|%q|%d|%v|%x\" 3.14159 \"a\" \"q\" 42 true 255 }}", "03.14|a   |\"q\"|42|true|ff"),
        ("{{ index .Alerts 1 | printf \"%v\" | len | lt 0 }}", "true"),
        ("{{ (index .Alerts 0).StartsAt.Format \"2006-01-02 15:04:05 MST\" }}", "2023-11-14 22:13:20 UTC"),
        ("{{ (index .Alerts 0).StartsAt.Unix }} {{ (index .Alerts 0).Fingerprint | len }}", "1700000000 16"),
        ("{{ template \"own\" . }}", "<firing>"), ("{{ define \"t\" }}{{ . }}{{ end }}{{ template \"t\" 5 }}", "5"),
        ("{{ block \"b\" .Status }}[{{ . }}]{{ end }}", "[firing]"),
        ("{{ range $k, $v := .GroupLabels }}{{ $k }}:{{ $v }}{{ end }}", "job:db"),
        (
            "{{ range .Alerts }}{{ if eq .Status \"resolved\" }}{{ continue }}{{ end }}{{ .Labels.alertname }}{{ end }}",
            "A"
        ),
        ("{{ range .Alerts }}{{ .Labels.alertname }}{{ break }}{{ end }}", "A"),
        ("{{ \"a\\tb\" }}{{ `raw\\n` }}{{ 'a' }}", "a\tbraw\\n97"),
        ("{{ eq 1 2 1 }} {{ ne 1 2 }} {{ le 1 1 }} {{ slice \"abcd\" 1 3 }}", "true true true bc"),
        ("{{ urlquery \"a b&c\" }} {{ html \"<a>\" }} {{ js \"'x'\" }}", "a+b%26c &lt;a&gt; \\'x\\'"),
        // Empty lists and maps do not count, and labels print as Alertmanager prints them.
        ("{{ with .GroupLabels.Remove (stringSlice \"job\") }}y{{ else }}n{{ end }}", "n"),
        ("{{ if .Alerts.Firing }}f{{ end }}{{ if .Alerts.Resolved }}r{{ end }}", "fr"),
        ("{{ range .Alerts.Firing }}{{ if $.Alerts.Resolved }}r{{ end }}{{ end }}", "r"),
        ("{{ .CommonLabels }}|{{ printf \"%v\" .GroupLabels }}", "job=db, x=<b>&\"'+|job=db"),
        ("{{ toJson .GroupLabels }}{{ range .GroupLabels.SortedPairs }}{{ .Name }}{{ end }}", "{\"job\":\"db\"}job"),
        ("{{ print 1 2 \"a\" \"b\" 3 }}|{{ println \"x\" }}", "1 2ab3|x\n"),
    ])
    func texts(template: String, expected: String) throws { #expect(try render(template) == expected) }

    @Test(arguments: [
        ("{{ .CommonLabels.x }}", "&lt;b&gt;&amp;&#34;&#39;&#43;"), ("{{ safeHtml \"<i>\" }}", "<i>"),
        ("<p>{{ .Status }}</p>", "<p>firing</p>"), ("{{ \"<\" | html }}", "&amp;lt;"),
    ])
    func pages(template: String, expected: String) throws { #expect(try render(template, html: true) == expected) }

    /// Each names the template and the line, and what is wrong.
    @Test(arguments: [
        ("{{ nope }}", "function \"nope\" not defined"), ("{{ .Status", "unclosed action"),
        ("{{ if true }}x", "unexpected EOF"), ("{{ end }}", "unexpected {{end}}"),
        ("{{ $x }}", "undefined variable \"$x\""), ("{{ template \"nope\" }}", "template \"nope\" not defined"),
        ("{{ range $x := .Alerts }}{{ end }}{{ $x }}", "undefined variable \"$x\""),
        ("{{ index .Alerts 7 }}", "index out of range: 7"), ("{{ \"abc }}", "unterminated quoted string"),
        ("{{ .Status.Nope }}", "can't evaluate field Nope"),
        ("{{ .Nope }}", "can't evaluate field Nope in type template.Data"),
        ("{{ range .Alerts }}{{ .Nope }}{{ end }}", "can't evaluate field Nope in type template.Alert"),
        ("{{ break }}", "{{break}} outside {{range}}"),
        ("{{ range .Alerts }}{{ else }}{{ continue }}{{ end }}", "{{continue}} outside {{range}}"),
        ("{{ template \"loop\" . }}", "exceeded maximum template depth"),
        ("{{ reReplaceAll \"(\" \"\" \"x\" }}", "missing )"), ("{{ 1 | }}", "missing value for command"),
    ])
    func mistakes(template: String, message: String) {
        #expect {
            try render("first line\n" + template)
        } throws: { error in
            let text = "\(error)"
            return text.contains(message) && text.contains("template") && text.contains(":")
        }
    }

    @Test func withoutResolvedAlertsTheirPartIsLeftOut() throws {
        let alert = RoutedAlert(
            labels: Labels([("alertname", "A")]), annotations: .empty, startsAt: 0, endsAt: 0, generatorURL: "",
            updatedAt: 0, timesOut: false)
        let data = NotificationData(
            receiver: "r", groupKey: "g", groupLabels: .empty, alerts: [NotifiedAlert(alert: alert, resolved: false)],
            externalURL: "")
        let text = "{{ if .Alerts.Firing }}f{{ end }}{{ if .Alerts.Resolved }}r{{ end }}{{ if .GroupLabels }}g{{ end }}"
        #expect(try NotificationTemplates().render(text, html: false, data) == "f")
    }

    @Test func aTemplateThatCallsItselfIsFoundBeforeItIsUsed() throws {
        func endless(_ text: String) throws -> String? {
            try NotificationTemplates([(name: "a.tmpl", text: text)]).endless()?.description
        }
        #expect(
            try endless(
                "\n{{ define \"a\" }}{{ template \"b\" . }}{{ end }}{{ define \"b\" }}{{ template \"a\" }}{{ end }}")
                != nil)
        #expect(try endless("{{ define \"a\" }}{{ if .x }}{{ template \"a\" . }}{{ end }}{{ end }}") == nil)
        #expect(try endless("{{ define \"a\" }}{{ template \"b\" . }}{{ end }}{{ define \"b\" }}x{{ end }}") == nil)
    }

    @Test func aTemplateThatNeverEndsIsStopped() throws {
        let many = "{{ range 100000 }}{{ range 100000 }}{{ end }}{{ end }}"
        #expect { try render(many) } throws: { "\($0)".contains("steps") }
        let large = "{{ range 100000 }}" + String(repeating: "x", count: 100_000) + "{{ end }}"
        #expect { try render(large) } throws: { "\($0)".contains("bytes") }
    }

    @Test func aFailingTextLeavesItsErrorInTheMessage() throws {
        let templates = try NotificationTemplates()
        var config = IntegrationConfig(.googlechat, sendResolved: true)
        config.options = ["url": .text("http://chat"), "message": .text("{{ .Status.Nope }}")]
        let alert = RoutedAlert(
            labels: Labels([("alertname", "A")]), annotations: .empty, startsAt: 0, endsAt: 1, generatorURL: "",
            updatedAt: 0, timesOut: false)
        let delivery = Delivery(
            id: 1, key: LogKey(group: "g", receiver: "r", kind: "googlechat", index: 0), integration: config,
            groupLabels: .empty, alerts: [NotifiedAlert(alert: alert, resolved: false)], flushedAt: 0, deadline: 0,
            entry: LogEntry(firing: [], resolved: [], at: 0, expiresAt: 0))
        let builder = MessageBuilder(delivery, externalURL: "") { try templates.render($0, html: $1, $2) }
        guard case .http(let request, _)? = try builder.messages().first else {
            Issue.record("no message")
            return
        }
        #expect(String(decoding: request.body ?? [], as: UTF8.self).contains("can't evaluate field Nope"))
        #expect(builder.text.errors.count == 1)
    }

    /// Cut at every length, markup stays whole: each tag that is open is closed, and no entity is in pieces.
    @Test func cuttingHTMLBreaksNoMarkup() {
        let text = "<b>a&lt;b &amp; c</b> <i>x<code>&#34;é</code></i> <a href=\"http://h/?a=1&amp;b=2\">link</a> tail"
        for limit in 1...text.unicodeScalars.count + 2 {
            let cut = truncatedHTML(text, scalars: limit)
            #expect(cut.unicodeScalars.count <= max(limit, 1))
            var open: [String] = []
            var rest = Substring(cut)
            while let c = rest.first {
                if c == "<" {
                    guard let end = rest.firstIndex(of: ">") else {
                        Issue.record("an open tag at \(limit): \(cut)")
                        break
                    }
                    let tag = rest[rest.index(after: rest.startIndex)..<end]
                    if tag.hasPrefix("/") {
                        #expect(open.popLast() == String(tag.dropFirst()), "\(cut)")
                    } else {
                        open.append(String(tag.prefix { $0.isLetter }))
                    }
                    rest = rest[rest.index(after: end)...]
                } else {
                    if c == "&" { #expect(rest.prefix(6).contains(";"), "\(limit): \(cut)") }
                    rest = rest.dropFirst()
                }
            }
            #expect(open.isEmpty, "\(limit): \(cut)")
        }
    }
}
