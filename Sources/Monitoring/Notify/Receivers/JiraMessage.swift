import FoundationEssentials
import MetricModel
import Platform

/// What is done in Jira for one notification: the group's issue is looked for by its label, made or updated, and moved to
/// another state where it should be. Requests are made beforehand, so that templates are rendered once.
package struct JiraConversation: Sendable {
    var search: HTTPRequest
    /// Nil where the group has resolved: then no issue is begun.
    var create: HTTPRequest?
    /// For the address of the issue that was found; its URL ends in `/issue/`.
    var update: HTTPRequest
    var isFiring: Bool
    var reopenTransition: String
    var resolveTransition: String

    private struct Search: Decodable {
        struct Issue: Decodable {
            struct Fields: Decodable { var status: Status? }
            struct Status: Decodable { var statusCategory: Category? }
            struct Category: Decodable { var key: String? }
            var key: String
            var fields: Fields?
        }
        var issues: [Issue]
    }

    private struct Transitions: Decodable {
        struct Transition: Decodable {
            var id: String
            var name: String
        }
        var transitions: [Transition]
    }

    /// `exchange` sends a request; its outcome, and the body of a success.
    func run(_ exchange: (HTTPRequest) async -> (DeliveryOutcome, [UInt8])) async -> DeliveryOutcome {
        let (found, answer) = await exchange(search)
        guard found == .done else { return found }
        guard let issues = try? JSONDecoder().decode(Search.self, from: Data(answer)).issues else {
            return .failed(reason: .clientError, message: "the search's answer is not Jira's")
        }
        guard let issue = issues.first else {
            guard let create else { return .done }
            return await exchange(create).0
        }
        var request = update
        request.url += percentEncoded(issue.key)
        let updated = await exchange(request).0
        guard updated == .done else { return updated }
        let isDone = issue.fields?.status?.statusCategory?.key == "done"
        let transition = isFiring ? reopenTransition : resolveTransition
        if isFiring != isDone || transition.isEmpty { return .done }
        return await move(request.url + "/transitions", to: transition, exchange)
    }

    private func move(
        _ url: String, to name: String, _ exchange: (HTTPRequest) async -> (DeliveryOutcome, [UInt8])
    ) async -> DeliveryOutcome {
        var request = update
        request.method = "GET"
        request.url = url
        request.body = nil
        let (listed, answer) = await exchange(request)
        guard listed == .done else { return listed }
        let transitions = (try? JSONDecoder().decode(Transitions.self, from: Data(answer)).transitions) ?? []
        guard let transition = transitions.first(where: { $0.name == name }) else {
            let names = transitions.prefix(20).map(\.name).joined(separator: ", ")
            return .failed(
                reason: .clientError,
                message: "the issue has no transition \"\(name)\"; those that it has now: \(names)")
        }
        var json = JSONText()
        json.object { $0.object("transition") { $0.field("id", transition.id) } }
        request.method = "POST"
        request.body = json.bytes
        return await exchange(request).0
    }
}

extension MessageBuilder {
    /// An issue as Alertmanager 0.28 writes it. The conditions of the search are later versions', which find open issues where a
    /// resolution is excluded and reopen within `reopen_duration` as documented.
    func jira() throws -> [Outgoing] {
        var base = config.text("api_url")
        while base.hasSuffix("/") { base.removeLast() }
        let label = "ALERT{\(groupHash)}"
        let project = rendered("project")
        let host = base.split(separator: "/").dropFirst().first.map { String($0.prefix { $0 != ":" }) } ?? ""
        let type = config.text("api_type")
        let isCloud = type == "cloud" || (type != "datacenter" && host.hasSuffix("atlassian.net"))

        var search = JSONText()
        search.object { json in
            json.field("jql", jql(project: project, label: label))
            json.field("maxResults", 2)
            json.array("fields", ["status"]) { $0.string($1) }
        }
        // The cloud has given up the older search.
        var searchURL = base + "/search"
        if isCloud {
            searchURL = (base.hasSuffix("/2") ? String(base.dropLast()) + "3" : base) + "/search/jql"
        }
        let whole = try issue(project: project, label: label, isNew: true, documents: base.hasSuffix("/3"))
        let changes = try issue(project: project, label: label, isNew: false, documents: base.hasSuffix("/3"))
        func request(_ method: String, _ url: String, _ json: JSONText) throws -> HTTPRequest {
            var request = try self.request(method, url, json: json)
            request.headers.append(("Accept-Language", "en"))
            return request
        }
        return [
            .jira(
                JiraConversation(
                    search: try request("POST", searchURL, search),
                    create: isFiring ? try request("POST", base + "/issue", whole) : nil,
                    update: try request("PUT", base + "/issue/", changes), isFiring: isFiring,
                    reopenTransition: config.text("reopen_transition"),
                    resolveTransition: config.text("resolve_transition")))
        ]
    }

    private func jql(project: String, label: String) -> String {
        func quoted(_ text: String) -> String {
            "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
        }
        var jql = ""
        let excluded = config.text("wont_fix_resolution")
        if !excluded.isEmpty { jql += "(resolution is EMPTY OR resolution != \(quoted(excluded))) and " }
        let minutes = config.duration("reopen_duration") / 60_000
        if isFiring, !config.text("reopen_transition").isEmpty {
            if minutes > 0 { jql += "(resolutiondate is EMPTY OR resolutiondate >= -\(minutes)m) and " }
        } else {
            jql += "statusCategory != Done and "
        }
        return jql + "project=\(quoted(project)) and labels=\(quoted(label)) order by status ASC,resolutiondate DESC"
    }

    private func issue(project: String, label: String, isNew: Bool, documents: Bool) throws -> JSONText {
        let summary = text("summary", isNew, truncatedTo: 255)
        let description = text("description", isNew, truncatedTo: 32_767)
        let priority = rendered("priority")
        let labels = (texts("labels") + [label]).sorted { bytewisePrecedes($0, $1) }
        // The third version of the API takes no text but a document, in JSON.
        if documents, let description {
            guard (try? JSONDecoder().decode(AnyJSON.self, from: Data(description.utf8))) != nil else {
                throw OutgoingError(
                    "description must be JSON (Atlassian's document format) with an api_url ending in /3")
            }
        }
        let own = config.map("fields") + config.map("custom_fields")
        var fields: [(String, (inout JSONText) -> Void)] = [
            ("issuetype", { $0.object { $0.field("name", self.rendered("issue_type")) } }),
            ("labels", { $0.array(labels) { $0.string($1) } }),
            ("project", { $0.object { $0.field("key", project) } }),
        ]
        if let summary { fields.append(("summary", { $0.string(summary) })) }
        if let description {
            fields.append(("description", { documents ? $0.raw(description) : $0.string(description) }))
        }
        if !priority.isEmpty { fields.append(("priority", { $0.object { $0.field("name", priority) } })) }
        fields.removeAll { field in own.contains { $0.key == field.0 } }
        for entry in own { fields.append((entry.key, { self.writeTree(&$0, entry.value) })) }
        var json = JSONText()
        json.object { json in
            json.object("fields") { json in
                for (name, write) in fields.sorted(by: { bytewisePrecedes($0.0, $1.0) }) {
                    json.key(name)
                    write(&json)
                }
            }
        }
        return json
    }

    /// `summary` and `description`: a template, or `{template, enable_update}` as in later versions. Nil: not to be changed.
    private func text(_ key: String, _ isNew: Bool, truncatedTo limit: Int) -> String? {
        var template = "{{ template \"jira.default.\(key)\" . }}"
        switch config.options[key] {
        case .text(let own): template = own
        case .map(let entries):
            if !entries.text("template").isEmpty { template = entries.text("template") }
            if !isNew, entries["enable_update"] == .bool(false) { return nil }
        default: break
        }
        return truncated(text.render(template), scalars: limit)
    }
}

/// Any JSON at all.
private struct AnyJSON: Decodable {
    init(from decoder: any Decoder) throws {
        if let list = try? decoder.unkeyedContainer() {
            _ = list
        } else if let object = try? decoder.container(keyedBy: Key.self) {
            _ = object
        } else {
            _ = try decoder.singleValueContainer()
        }
    }

    private struct Key: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }
        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }
}
