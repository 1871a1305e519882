package import Monitoring

/// Discoveries that Prometheus has and this program has not.
private let otherDiscoveries = [
    "azure", "consul", "digitalocean", "docker", "dockerswarm", "ec2", "eureka", "gce", "hetzner", "ionos", "kuma",
    "lightsail", "linode", "marathon", "nerve", "nomad", "openstack", "ovhcloud", "puppetdb", "scaleway", "serverset",
    "stackit", "triton", "uyuni", "vultr",
]

/// Reads all `*_sd_configs` of a section.
func decodeDiscoveries(_ section: ConfigSection) -> [DiscoveryConfig] {
    var out: [DiscoveryConfig] = []
    let groups = section.nodes("static_configs").enumerated().compactMap { index, node in
        decodeTargetGroup(node, section.issues, source: String(index))
    }
    if !groups.isEmpty { out.append(.staticTargets(groups)) }
    for entry in section.sections("file_sd_configs") {
        let patterns = (entry.required("files", entry.strings("files")) ?? []).map {
            resolvePath($0, relativeTo: section.node.file)
        }
        for pattern in patterns where ![".json", ".yml", ".yaml"].contains(where: pattern.hasSuffix) {
            entry.issues.add(entry.node, "\(entry.node.path).files: \"\(pattern)\" must end in .json, .yml or .yaml")
        }
        out.append(.files(patterns: patterns, refreshInterval: entry.duration("refresh_interval") ?? 300_000))
        entry.finish()
    }
    for entry in section.sections("http_sd_configs") {
        let url = entry.required("url", entry.string("url")) ?? ""
        entry.checkWebURL("url", url)
        let interval = entry.duration("refresh_interval") ?? 60_000
        out.append(.http(url: url, refreshInterval: max(1000, interval), client: decodeHTTPClientConfig(entry)))
        entry.finish()
    }
    for entry in section.sections("dns_sd_configs") {
        let names = entry.required("names", entry.strings("names")) ?? []
        let type = entry.string("type") ?? "SRV"
        let port = entry.int("port", range: 0...65535)
        if !["SRV", "A", "AAAA", "MX", "NS"].contains(type) {
            entry.issues.add(entry.node, "\(entry.node.path).type must be SRV, A, AAAA, MX or NS, not \(type)")
        } else if type != "SRV", port == nil {
            entry.issues.add(entry.node, "\(entry.node.path): type \(type) needs a port")
        }
        let interval = entry.duration("refresh_interval") ?? 30_000
        out.append(.dns(names: names, type: type, port: port ?? 0, refreshInterval: max(1000, interval)))
        entry.finish()
    }
    for entry in section.sections("kubernetes_sd_configs") {
        if let config = decodeKubernetesDiscovery(entry) { out.append(.kubernetes(config)) }
    }
    for name in otherDiscoveries {
        section.refuse(
            "\(name)_sd_configs",
            "this program finds targets by static_configs and by file, http, dns and kubernetes_sd_configs")
    }
    return out
}

/// Tells of URLs where HOST:PORT is meant, as Prometheus does where no relabelling could make a target of them.
func checkStaticTargets(_ section: ConfigSection) {
    guard section.sections("relabel_configs").isEmpty else { return }
    for group in section.sections("static_configs") {
        for target in group.nodes("targets") {
            guard let text = target.scalar, text.contains("/") else { continue }
            section.issues.add(
                target,
                "\(target.path): \"\(text)\" is not a valid hostname: give HOST:PORT, and the rest by scheme and metrics_path"
            )
        }
    }
}

/// `{targets: […], labels: {…}}`
private func decodeTargetGroup(_ node: ConfigNode, _ issues: ConfigIssues, source: String) -> TargetGroup? {
    guard let section = ConfigSection(node, issues) else { return nil }
    let targets = section.strings("targets") ?? []
    let labels = section.stringMap("labels") ?? []
    section.finish()
    return TargetGroup(
        targets: targets.map { ["__address__": $0] }, labels: Dictionary(labels, uniquingKeysWith: { _, last in last }),
        source: source)
}

/// Reads a file of target groups, YAML or JSON; throws the first finding.
package func parseTargetGroups(_ bytes: [UInt8], file: String) throws -> [TargetGroup] {
    guard let node = try ConfigNode.parse(bytes, file: file) else { return [] }
    let issues = ConfigIssues()
    guard let list = node.sequence else {
        throw ConfigIssue(file: file, line: node.line, column: node.column, message: "must be a list of target groups")
    }
    let groups = list.enumerated().compactMap { decodeTargetGroup($1, issues, source: "\(file):\($0)") }
    if let first = issues.all.first { throw first }
    return groups
}
