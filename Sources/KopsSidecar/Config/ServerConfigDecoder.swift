import Glibc
import MetricModel
import Platform

/// Reads `http:`; the web configuration file (exporter-toolkit's format) that it names with it.
func decodeHTTPConfig(_ section: ConfigSection?, _ issues: ConfigIssues) -> HTTPConfig {
    var config = HTTPConfig()
    guard let section else { return config }
    if let listen = section.string("listen"), let node = section.node("listen") {
        if let (host, port) = parseListenAddress(listen) {
            (config.host, config.port) = (host, port)
        } else {
            issues.add(node, "http.listen must be HOST:PORT such as 127.0.0.1:9640, not \"\(listen)\"")
        }
    }
    if let url = section.string("external_url") { config.externalURL = url }
    config.corsOrigin = section.string("cors_origin")
    config.tokenFiles = (section.strings("token_files") ?? []).map {
        resolvePath($0, relativeTo: section.node.file)
    }
    if let path = section.string("web_config_file") {
        let file = resolvePath(path, relativeTo: section.node.file)
        config.webConfigFile = file
        config.web = decodeWebConfig(file, issues)
    }
    section.finish()
    return config
}

/// `127.0.0.1:9640`, `:9640`, `[::1]:9640`; nil where it is none. Port 0 takes any free port.
package func parseListenAddress(_ text: String) -> (host: String, port: Int)? {
    guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
        (0...65535).contains(port)
    else { return nil }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") {
        host = String(host.dropFirst().dropLast())
    } else if host.contains(":") {
        return nil
    }
    return (host.isEmpty ? "0.0.0.0" : host, port)
}

func decodeLogConfig(_ section: ConfigSection?) -> LogConfig {
    var config = LogConfig()
    guard let section else { return config }
    config.level = section.choice("level", ["debug", "info", "warn", "error"]) ?? config.level
    config.format = section.choice("format", ["logfmt", "json"]) ?? config.format
    section.finish()
    return config
}

func decodeStorageConfig(_ section: ConfigSection?, _ unnamed: StorageConfig, _ issues: ConfigIssues) -> StorageConfig {
    var config = unnamed
    guard let section else { return config }
    if let engine = section.choice("engine", ["sqlite", "remote"]) {
        config.engine = StorageConfig.Engine(rawValue: engine) ?? .sqlite
    }
    config.path = section.string("path") ?? config.path
    if let retention = section.section("retention") {
        config.retentionTime = retention.duration("time") ?? config.retentionTime
        config.retentionSize = retention.byteSize("size") ?? config.retentionSize
        config.minimumFree = retention.byteSize("min_free") ?? config.minimumFree
        retention.finish()
    }
    config.remoteWriteBacklog = section.byteSize("remote_write_backlog") ?? config.remoteWriteBacklog
    config.maxSeries = section.int("max_series", range: 0...Int.max) ?? 0
    // Prometheus' own section of this name.
    if let tsdb = section.section("tsdb") {
        config.outOfOrderWindow = tsdb.duration("out_of_order_time_window") ?? 0
        if let retention = tsdb.section("retention") {
            config.retentionTime = retention.duration("time") ?? config.retentionTime
            config.retentionSize = retention.byteSize("size") ?? config.retentionSize
            retention.finish()
        }
        tsdb.finish()
    }
    if let exemplars = section.section("exemplars") {
        _ = exemplars.int("max_exemplars")
        exemplars.finish()
    }
    if let remote = section.section("remote") {
        config.queryURL = remote.string("query_url") ?? ""
        config.writeURL = remote.string("write_url") ?? ""
        config.remoteClient = decodeHTTPClientConfig(remote)
        remote.checkWebURL("query_url", config.queryURL)
        remote.checkWebURL("write_url", config.writeURL)
        remote.finish()
    }
    if config.engine == .remote, config.queryURL.isEmpty || config.writeURL.isEmpty {
        issues.add(section.node, "storage.engine remote needs storage.remote.query_url and storage.remote.write_url")
    }
    if config.engine == .remote {
        // What waits for the engine and what rules restore from lies here for some hours.
        config.retentionTime = max(config.retentionTime, 2 * 3_600_000)
    }
    section.finish()
    return config
}

/// What Prometheus allows in `global:`; its limits for scraping are read again by the scrape configurations' decoder.
func decodeGlobalConfig(_ section: ConfigSection?, _ issues: ConfigIssues) -> GlobalConfig {
    var config = GlobalConfig()
    guard let section else { return config }
    config.scrapeInterval = section.duration("scrape_interval") ?? config.scrapeInterval
    let timeout = section.duration("scrape_timeout")
    if let timeout, timeout > config.scrapeInterval, let node = section.node("scrape_timeout") {
        issues.add(node, "global.scrape_timeout must not be longer than global.scrape_interval")
    }
    config.scrapeTimeout = timeout ?? min(config.scrapeTimeout, config.scrapeInterval)
    config.evaluationInterval = section.duration("evaluation_interval") ?? config.evaluationInterval
    config.ruleQueryOffset = section.duration("rule_query_offset") ?? 0
    config.queryLogFile = decodePath(section, "query_log_file")
    if let pairs = section.stringMap("external_labels") {
        for (name, _) in pairs where name == "__name__" || name.isEmpty {
            if let node = section.node("external_labels") {
                issues.add(node, "\"\(name)\" is not a valid label name for global.external_labels")
            }
        }
        config.externalLabels = Labels(pairs.map { ($0.0, expandEnvironment($0.1)) })
    }
    return config
}

/// `$NAME` and `${NAME}` replaced by environment variables, `$$` by a dollar sign, as Prometheus does in external labels.
package func expandEnvironment(_ text: String) -> String {
    guard text.contains("$") else { return text }
    var out = ""
    var rest = Substring(text)
    while let dollar = rest.firstIndex(of: "$") {
        out += rest[..<dollar]
        rest = rest[rest.index(after: dollar)...]
        if rest.first == "$" {
            out += "$"
            rest = rest.dropFirst()
        } else if rest.first == "{", let end = rest.firstIndex(of: "}") {
            out += environmentVariable(String(rest[rest.index(after: rest.startIndex)..<end]))
            rest = rest[rest.index(after: end)...]
        } else {
            let name = rest.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
            out += name.isEmpty ? "$" : environmentVariable(String(name))
            rest = rest.dropFirst(name.count)
        }
    }
    return out + rest
}

private func environmentVariable(_ name: String) -> String {
    getenv(name).map { String(cString: $0) } ?? ""
}
