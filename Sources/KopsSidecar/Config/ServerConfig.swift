package import MetricModel
package import Monitoring

/// `global:` as in prometheus.yml. Times are milliseconds.
package struct GlobalConfig: Sendable {
    package var scrapeInterval: Int64 = 60_000
    package var scrapeTimeout: Int64 = 10_000
    package var evaluationInterval: Int64 = 60_000
    package var ruleQueryOffset: Int64 = 0
    package var externalLabels = Labels.empty
    /// Where queries are written down.
    package var queryLogFile: String?
}

/// `http:`: where the API and the page are served.
package struct HTTPConfig: Sendable {
    package var host = "127.0.0.1"
    package var port = 9640
    /// How others reach this sidecar: the base of links in alerts. Empty for `http://<host name>:<port>`.
    package var externalURL = ""
    /// Where `web` was read from, and is read again when it or what it names changes.
    package var webConfigFile: String?
    package var web = WebConfig()
    package var tokenFiles: [String] = []
    package var corsOrigin: String?

    package var isLoopback: Bool {
        host == "localhost" || host == "::1" || host == "[::1]" || host.hasPrefix("127.")
    }
}

extension HTTPConfig {
    /// Whether nobody gets in without a password, a token or a certificate.
    package var authenticates: Bool { web.authenticates || !tokenFiles.isEmpty }
    package var scheme: String { web.tls == nil ? "http" : "https" }
}

/// `log:`
package struct LogConfig: Sendable {
    package var level = "info"
    package var format = "logfmt"
}

/// `storage:`. Times are milliseconds, sizes bytes; zero retention means no bound of that kind.
package struct StorageConfig: Sendable {
    package enum Engine: String, Sendable { case sqlite, remote }

    package var engine = Engine.sqlite
    package var path: String
    package var retentionTime: Int64 = 15 * 86_400_000
    package var retentionSize: Int64 = 0
    package var minimumFree: Int64 = 256 << 20
    package var outOfOrderWindow: Int64 = 0
    package var maxSeries = 0
    /// Bytes of logs kept for remote-write destinations that have not read them.
    package var remoteWriteBacklog: Int64 = 2 << 30
    package var queryURL = ""
    package var writeURL = ""
    /// How both are signed in to.
    package var remoteClient = HTTPClientConfig()

    /// `file` is the configuration's own path. Data of one in the shipped place lies where the shipped unit keeps its state, so that the
    /// service and every command look there; else below the working directory.
    package init(of file: String) {
        path = file.hasPrefix("/etc/kops-sidecar/") ? "/var/lib/kops-sidecar" : "./data"
    }
}
