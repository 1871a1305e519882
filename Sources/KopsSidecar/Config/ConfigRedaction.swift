import Yams

/// Keys whose values are secrets anywhere in the files we read, Prometheus' and Alertmanager's included.
private let secretKeys: Set<String> = [
    "password", "credentials", "bearer_token", "client_secret", "secret_key", "access_key", "session_token", "token",
    "api_key", "api_secret", "routing_key", "service_key", "user_key", "bot_token", "api_url", "webhook_url",
    "auth_password", "auth_secret", "smtp_auth_password", "smtp_auth_secret", "slack_api_url", "opsgenie_api_key",
    "victorops_api_key", "wechat_api_secret", "access_token", "ping_url", "certificate_authority_data",
    "client-key-data", "client-certificate-data", "key",
]

/// A document's text in a normal form, every secret in it replaced by `<secret>`. For people and `/api/v1/status/config`.
package func redactedYAML(_ bytes: [UInt8]) -> String {
    let text = String(decoding: bytes, as: UTF8.self)
    guard let node = try? Yams.compose(yaml: text, .basic),
        let out = try? Yams.serialize(node: redacted(node, secret: false, depth: 0), width: 4096, allowUnicode: true)
    else { return "" }
    return out
}

private func redacted(_ node: Node, secret: Bool, depth: Int) -> Node {
    guard depth < 200 else { return Node("...") }
    switch node {
    case .scalar(let scalar):
        if secret && !scalar.string.isEmpty { return Node("<secret>") }
        return .scalar(Node.Scalar(scalar.string, Tag(.implicit), scalar.style))
    case .sequence(let sequence):
        return .sequence(
            Node.Sequence(sequence.map { redacted($0, secret: secret, depth: depth + 1) }, Tag(.implicit), .block))
    case .mapping(let mapping):
        let pairs = mapping.map { key, value in
            let name = key.scalar?.string ?? ""
            let hides = (secretKeys.contains(name) && value.scalar != nil) || (name == "url" && isWebhookURL(value))
            return (
                redacted(key, secret: false, depth: depth + 1), redacted(value, secret: hides, depth: depth + 1)
            )
        }
        return .mapping(Node.Mapping(pairs, Tag(.implicit), .block))
    case .alias: return node
    }
}

/// Addresses of web hooks carry their secret in the path or in user information.
private func isWebhookURL(_ node: Node) -> Bool {
    guard let text = node.scalar?.string else { return false }
    return text.contains("@") || text.contains("hooks.") || text.contains("/webhook") || text.contains("token=")
}
