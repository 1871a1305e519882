import KopsSidecar
import Monitoring
import Platform
import Testing

/// `remote_write` and `storage.remote` of the configuration file.
@Suite struct RemoteWriteConfigTests {
    func load(_ text: String) throws -> SidecarConfig {
        let path = "/tmp/kops-remote-\(UInt64.random(in: 0...(.max))).yaml"
        defer { try? FileSystem.removeFile(path) }
        try AtomicFile.write(Array(text.utf8), to: path)
        return try SidecarConfig.load(path)
    }

    @Test func takesPrometheusKeys() throws {
        let config = try load(
            """
            remote_write:
              - url: https://a.example.org/write
                remote_timeout: 5s
                headers: {X-Scope-OrgID: prod}
                basic_auth: {username: u, password: p}
                write_relabel_configs: [{source_labels: [__name__], regex: 'go_.*', action: drop}]
                queue_config: {capacity: 10, max_shards: 7, min_shards: 2, max_samples_per_send: 100, batch_send_deadline: 1s,
                  min_backoff: 1s, max_backoff: 10s, retry_on_http_429: true, sample_age_limit: 1h}
                metadata_config: {send: false}
                send_exemplars: true
              - {url: "http://b.example.org/write", name: b}
            """)
        #expect(config.remoteWrite.count == 2)
        let first = try #require(config.remoteWrite.first)
        #expect(first.timeout == 5000 && first.relabel.count == 1 && !first.metadata.send)
        #expect(first.queue.maxShards == 7 && first.queue.minShards == 2 && first.queue.maxSamplesPerSend == 100)
        #expect(first.queue.retryOn429 && first.queue.sampleAgeLimit == 3_600_000 && first.queue.minBackoff == 1000)
        #expect(first.name.count == 6 && config.remoteWrite[1].name == "b")
        #expect(config.warnings.contains { $0.contains("send_exemplars") })
        #expect(!config.redacted.contains("password: p"))
    }

    @Test(
        arguments: [
            ("url: ftp://a", "http://"), ("{}", "url"),
            ("url: http://a\n    headers: {Authorization: x}", "Authorization"),
            ("url: http://a\n    queue_config: {max_shards: 2, min_shards: 3}", "min_shards"),
            ("url: http://a\n    queue_config: {max_shard: 2}", "max_shard"),
            ("url: http://a\n    sigv4: {region: x}", "sigv4"),
            ("url: http://a\n    protobuf_message: io.prometheus.write.v2.Request", "2.0"),
            ("url: http://a\n  - url: http://a", "two destinations"),
        ] as [(String, String)])
    func refuses(_ entry: String, _ word: String) {
        do {
            _ = try load("remote_write:\n  - \(entry)\n")
            Issue.record("taken: \(entry)")
        } catch {
            #expect("\(error)".contains(word), "\(error)")
        }
    }

    @Test func aRemoteEngineNeedsBothURLs() throws {
        #expect(throws: ConfigProblems.self) { try load("storage: {engine: remote}") }
        #expect(throws: ConfigProblems.self) {
            try load("storage: {engine: remote, remote: {query_url: 'http://a', write_url: 'a'}}")
        }
        _ = try load("storage: {engine: remote, remote: {query_url: 'http://a', write_url: 'http://a/api/v1/write'}}")
    }
}
