import Yams

/// Keys whose values are secrets anywhere in the files we read, Prometheus' and Alertmanager's included, beside those that
/// `isSecretName` tells by their endings.
private let secretKeys: Set<String> = [
    "credentials", "secret_key", "access_key", "routing_key", "service_key", "user_key", "api_url", "webhook_url",
    "slack_api_url", "mattermost_webhook_url", "ping_url", "token_id", "rocketchat_token_id",
    "certificate_authority_data", "client-key-data", "client-certificate-data", "key",
]

/// Keys of texts that are secrets one by one.
private let secretLists: Set<String> = ["secrets"]

/// Where a value stands, as far as that makes a secret of it.
private enum Place {
    case plain
    case receivers
    /// Names and values of HTTP headers.
    case headers
    case secret
}

/// A document's text in a normal form, every secret in it replaced by `<secret>`. For people and `/api/v1/status/config`.
package func redactedYAML(_ bytes: [UInt8]) -> String {
    guard let node = try? Yams.compose(yaml: String(decoding: bytes, as: UTF8.self), .basic) else { return "" }
    return redactedYAML(node)
}

/// The same of a part of a document.
func redactedYAML(_ node: Node) -> String {
    (try? Yams.serialize(node: redacted(node, .plain, depth: 0), width: 4096, allowUnicode: true)) ?? ""
}

private func redacted(_ node: Node, _ place: Place, depth: Int) -> Node {
    guard depth < 200 else { return Node("...") }
    switch node {
    case .scalar(let scalar):
        if place == .secret && !scalar.string.isEmpty { return Node("<secret>") }
        return .scalar(Node.Scalar(withoutPassword(scalar.string), Tag(.implicit), scalar.style))
    case .sequence(let sequence):
        return .sequence(
            Node.Sequence(sequence.map { redacted($0, place, depth: depth + 1) }, Tag(.implicit), .block))
    case .mapping(let mapping):
        let pairs = mapping.map { key, value in
            (
                redacted(key, .plain, depth: depth + 1),
                redacted(
                    value, placeOfValue(key.scalar?.string ?? "", value, in: place), depth: depth + 1)
            )
        }
        return .mapping(Node.Mapping(pairs, Tag(.implicit), .block))
    case .alias: return node
    }
}

private func placeOfValue(_ key: String, _ value: Node, in place: Place) -> Place {
    if place == .secret || secretLists.contains(key) { return .secret }
    if place == .headers { return isSecretHeader(key) ? .secret : .headers }
    if let text = value.scalar?.string {
        if secretKeys.contains(key) || isSecretName(key) { return .secret }
        if key == "url", place == .receivers || isWebhookURL(text) { return .secret }
    }
    switch key {
    case "receivers": return .receivers
    case "headers", "http_headers": return .headers
    default: return place
    }
}

/// Names of `*_file` keys end otherwise: they say where a secret is.
private func isSecretName(_ key: String) -> Bool {
    ["password", "token", "secret", "api_key"].contains { key == $0 || key.hasSuffix("_" + $0) }
}

private func isSecretHeader(_ name: String) -> Bool {
    let name = name.lowercased()
    return ["authorization", "cookie", "token", "secret", "password", "key"].contains { name.contains($0) }
}

/// Addresses of web hooks carry their secret in the path or in user information.
private func isWebhookURL(_ text: String) -> Bool {
    text.contains("@") || text.contains("hooks.") || text.contains("/webhook") || text.contains("token=")
}

/// `https://user:password@host` without the password.
private func withoutPassword(_ text: String) -> String {
    guard let scheme = text.firstRange(of: "://") else { return text }
    let authority = text[scheme.upperBound...].prefix { !"/?# ".contains($0) }
    guard let at = authority.lastIndex(of: "@"), let colon = authority[..<at].firstIndex(of: ":") else { return text }
    return text[...colon] + "<secret>" + text[at...]
}
