import Monitoring
import Platform

/// Reads Prometheus' `remote_read`.
func decodeRemoteRead(_ sections: [ConfigSection]) -> [RemoteReadConfig] {
    var out: [RemoteReadConfig] = []
    for section in sections {
        guard let config = decodeRemoteRead(section) else { continue }
        if out.contains(where: { $0.name == config.name }) {
            section.issues.add(
                section.node, "\(section.node.path): two endpoints are named \(config.name); give each a name")
        }
        out.append(config)
    }
    return out
}

private func decodeRemoteRead(_ section: ConfigSection) -> RemoteReadConfig? {
    let url = section.required("url", section.string("url")) ?? ""
    section.checkWebURL("url", url)
    var config = RemoteReadConfig(url: url, name: section.string("name"))
    config.timeout = section.duration("remote_timeout") ?? config.timeout
    config.headers = decodeRemoteHeaders(section)
    config.client = decodeHTTPClientConfig(section)
    config.readsRecent = section.bool("read_recent") ?? false
    config.filtersExternalLabels = section.bool("filter_external_labels") ?? true
    for (name, value) in section.stringMap("required_matchers") ?? [] { config.requiredMatchers[name] = value }
    section.refuse("chunked_read_limit", "an answer may have 256 MiB, in frames of any size")
    section.finish()
    return url.isEmpty ? nil : config
}

/// `headers` of remote write and remote read.
func decodeRemoteHeaders(_ section: ConfigSection) -> [HTTPClientConfig.Header] {
    let reserved = [
        "authorization", "host", "content-encoding", "content-length", "content-type", "user-agent", "connection",
        "x-prometheus-remote-write-version", "x-prometheus-remote-read-version", "accept-encoding",
    ]
    return (section.stringMap("headers") ?? []).map { name, value in
        var header = HTTPClientConfig.Header(name: name)
        header.values = [value]
        if reserved.contains(name.lowercased()), let at = section.node("headers") {
            section.issues.add(at, "\(at.path): \(name) is set by the sender and cannot be set here")
        }
        return header
    }
}
