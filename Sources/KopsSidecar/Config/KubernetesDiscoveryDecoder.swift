import Kubernetes
import Monitoring

/// Reads one entry of `kubernetes_sd_configs`.
func decodeKubernetesDiscovery(_ section: ConfigSection) -> KubernetesDiscoveryConfig? {
    let roles = KubernetesDiscoveryConfig.Role.allCases.map(\.rawValue)
    let name = section.required("role", section.choice("role", roles))
    var config = KubernetesDiscoveryConfig(role: name.flatMap { .init(rawValue: $0) } ?? .pod)
    decodeAccess(section, &config)
    if let namespaces = section.section("namespaces") {
        config.namespaces = namespaces.strings("names") ?? []
        config.ownNamespace = namespaces.bool("own_namespace") ?? false
        if config.ownNamespace {
            for key in ["api_server", "kubeconfig_file"] where section.has(key) {
                section.issues.add(
                    namespaces.node, "cannot use '\(key)' and 'namespaces.own_namespace' simultaneously")
            }
        }
        namespaces.finish()
    }
    for entry in section.sections("selectors") {
        let role = entry.required("role", entry.choice("role", roles)).flatMap {
            KubernetesDiscoveryConfig.Role(rawValue: $0)
        }
        if let role {
            var selector = KubernetesDiscoveryConfig.Selector(role: role)
            selector.label = entry.string("label")
            selector.field = entry.string("field")
            for term in (selector.field ?? "").split(separator: ",") where !term.contains("=") {
                entry.issues.add(
                    entry.node("field") ?? entry.node,
                    "invalid selector: '\(selector.field ?? "")'; can't understand '\(term)'")
            }
            let allowed = KubernetesDiscoveryConfig.allowedSelectors(config.role)
            if name != nil, !allowed.contains(role) {
                let list = allowed.map(\.rawValue).joined(separator: ", ")
                entry.issues.add(
                    entry.node, "\(entry.node.path): role \(config.role.rawValue) supports only \(list) selectors")
            } else if config.selectors.contains(where: { $0.role == role }) {
                entry.issues.add(entry.node, "\(entry.node.path): a second selector of role \(role.rawValue)")
            }
            config.selectors.append(selector)
        }
        entry.finish()
    }
    if let attach = section.section("attach_metadata") {
        config.attachNode = attach.bool("node") ?? false
        config.attachNamespace = attach.bool("namespace") ?? false
        attach.finish()
    }
    section.finish()
    return name == nil ? nil : config
}

private func decodeAccess(_ section: ConfigSection, _ config: inout KubernetesDiscoveryConfig) {
    let http = decodeHTTPClientConfig(section)
    let server = section.string("api_server")
    let kubeconfig = section.string("kubeconfig_file").map { resolvePath($0, relativeTo: section.node.file) }
    if let server {
        if kubeconfig != nil {
            section.issues.add(
                section.node, "\(section.node.path): at most one of api_server and kubeconfig_file may be given")
        }
        if !server.hasPrefix("https://"), !server.hasPrefix("http://"), let node = section.node("api_server") {
            section.issues.add(node, "\(node.path) must begin with https:// or http://, not \"\(server)\"")
        }
        if http.oauth2 != nil || !http.headers.isEmpty {
            section.issues.add(
                section.node,
                "\(section.node.path): oauth2 and http_headers are not supported for an API server; "
                    + "use authorization, basic_auth, tls_config or kubeconfig_file")
        }
        var access = ClusterAccess(server: server)
        access.tls = http.tls
        access.proxy = http.proxyURL
        access.token = http.authorization?.credentials
        access.tokenFile = http.authorization?.credentialsFile
        if let basic = http.basicAuth {
            access.basicAuth = .init(user: basic.username, password: basic.password, passwordFile: basic.passwordFile)
        }
        config.access = .server(access)
        return
    }
    if http != HTTPClientConfig() {
        section.issues.add(
            section.node,
            "\(section.node.path): to use custom HTTP client configuration please provide the api_server URL explicitly"
        )
    }
    if let kubeconfig { config.access = .kubeconfig(kubeconfig) }
}
