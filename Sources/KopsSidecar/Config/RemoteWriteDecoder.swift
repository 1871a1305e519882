import Monitoring
import Platform

/// Reads Prometheus' `remote_write`. What is taken though it changes nothing here is told in `warnings`.
func decodeRemoteWrite(_ sections: [ConfigSection], warnings: inout [String]) -> [RemoteWriteConfig] {
    var out: [RemoteWriteConfig] = []
    for section in sections {
        guard let config = decodeRemoteWrite(section, &warnings) else { continue }
        if out.contains(where: { $0.name == config.name }) {
            section.issues.add(
                section.node, "\(section.node.path): two destinations are named \(config.name); give each a name")
        }
        out.append(config)
    }
    return out
}

private func decodeRemoteWrite(_ section: ConfigSection, _ warnings: inout [String]) -> RemoteWriteConfig? {
    let url = section.required("url", section.string("url")) ?? ""
    section.checkWebURL("url", url)
    var config = RemoteWriteConfig(url: url, name: section.string("name"))
    config.timeout = section.duration("remote_timeout") ?? config.timeout
    config.headers = decodeRemoteHeaders(section)
    config.relabel = decodeRelabelConfigs(section.sections("write_relabel_configs"))
    config.client = decodeHTTPClientConfig(section)
    decodeQueue(section.section("queue_config"), &config.queue)
    if let metadata = section.section("metadata_config") {
        config.metadata.send = metadata.bool("send") ?? true
        config.metadata.interval = metadata.duration("send_interval") ?? config.metadata.interval
        config.metadata.maxPerSend = metadata.int("max_samples_per_send", range: 1...1_000_000) ?? 2000
        metadata.finish()
    }
    for (key, what) in [("send_exemplars", "exemplars"), ("send_native_histograms", "native histograms")]
    where section.bool(key) == true {
        warnings.append("\(section.node.path).\(key): \(what) are not stored, so there are none to send")
    }
    let message = section.choice(
        "protobuf_message", ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"])
    if message == "io.prometheus.write.v2.Request", let at = section.node("protobuf_message") {
        section.issues.add(at, "\(at.path): remote write 2.0 is not sent; use prometheus.WriteRequest")
    }
    for key in ["sigv4", "azuread", "google_iam"] { section.refuse(key, "this way of signing in is not offered") }
    if section.bool("round_robin_dns") == true {
        section.refuse("round_robin_dns", "connections go to the address that the resolver names first")
    }
    section.finish()
    return url.isEmpty ? nil : config
}

private func decodeQueue(_ section: ConfigSection?, _ queue: inout RemoteWriteConfig.Queue) {
    guard let section else { return }
    // Prometheus' buffer of a shard; here a round is read from the log when it is sent.
    _ = section.int("capacity", range: 1...Int.max)
    queue.maxShards = section.int("max_shards", range: 1...1000) ?? queue.maxShards
    queue.minShards = section.int("min_shards", range: 1...1000) ?? queue.minShards
    if queue.minShards > queue.maxShards {
        section.issues.add(section.node, "\(section.node.path): min_shards must not be above max_shards")
    }
    queue.maxSamplesPerSend = section.int("max_samples_per_send", range: 1...1_000_000) ?? queue.maxSamplesPerSend
    queue.batchSendDeadline = section.duration("batch_send_deadline") ?? queue.batchSendDeadline
    queue.minBackoff = section.duration("min_backoff") ?? queue.minBackoff
    queue.maxBackoff = section.duration("max_backoff") ?? queue.maxBackoff
    queue.retryOn429 = section.bool("retry_on_http_429") ?? false
    queue.sampleAgeLimit = section.duration("sample_age_limit") ?? 0
    section.finish()
}
