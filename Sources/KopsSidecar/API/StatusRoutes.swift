import Glibc
import MetricModel
package import Platform

/// What `status/*` and the health endpoints tell of the running service.
package struct StatusInformation: Sendable {
    package var startedAt: Int64
    package var clusterName: @Sendable () -> String
    /// The configuration's YAML, secrets replaced.
    package var configuration: @Sendable () -> String
    /// When it was loaded last (milliseconds) and whether that went well.
    package var lastReload: @Sendable () -> (at: Int64, successful: Bool)
    package var flags: @Sendable () -> [(String, String)]
    package var retention: @Sendable () -> String
    package var ready: @Sendable () -> Bool
    /// Re-reads the configuration; the findings where it is refused.
    package var reload: @Sendable () async -> [String]
    package var metrics: MetricRegistry

    package init(
        startedAt: Int64, clusterName: @escaping @Sendable () -> String,
        configuration: @escaping @Sendable () -> String,
        lastReload: @escaping @Sendable () -> (at: Int64, successful: Bool),
        flags: @escaping @Sendable () -> [(String, String)], retention: @escaping @Sendable () -> String,
        ready: @escaping @Sendable () -> Bool, reload: @escaping @Sendable () async -> [String], metrics: MetricRegistry
    ) {
        self.startedAt = startedAt
        self.clusterName = clusterName
        self.configuration = configuration
        self.lastReload = lastReload
        self.flags = flags
        self.retention = retention
        self.ready = ready
        self.reload = reload
        self.metrics = metrics
    }

    package var routes: [Route] {
        [
            .get("/-/healthy") { _ in .text(200, "kops-sidecar is healthy.\n") },
            .get("/-/ready") { _ in
                ready() ? .text(200, "kops-sidecar is ready.\n") : .text(503, "Service Unavailable: starting\n")
            },
            Route(["POST", "PUT"], "/-/reload", changesState: true) { _ in
                let findings = await reload()
                if findings.isEmpty { return APIReply(200, "text/plain; charset=utf-8", []) }
                return .text(
                    500, "failed to reload config: the running one stays\n" + findings.joined(separator: "\n") + "\n")
            },
            .get("/metrics") { _ in
                APIReply(200, "text/plain; version=0.0.4; charset=utf-8", metrics.expose())
            },
            .get("/api/v1/status/config") { _ in
                let yaml = configuration()
                return .success { writer in
                    writer.object {
                        $0.key("yaml")
                        $0.string(yaml)
                    }
                }
            },
            .get("/api/v1/status/flags") { _ in
                let flags = flags()
                return .success { writer in
                    writer.object { writer in
                        for (name, value) in flags {
                            writer.key(name)
                            writer.string(value)
                        }
                    }
                }
            },
            .get("/api/v1/status/buildinfo") { _ in
                // Clients decide by this version what the API can do: it is the Prometheus whose API this is.
                let fields = [
                    ("version", "3.0.0"), ("revision", productVersion), ("branch", "kops-sidecar"), ("buildUser", ""),
                    ("buildDate", ""), ("goVersion", ""),
                ]
                return .success { writer in
                    writer.object { writer in
                        for (name, value) in fields {
                            writer.key(name)
                            writer.string(value)
                        }
                    }
                }
            },
            .get("/api/v1/status/runtimeinfo") { _ in runtimeInformation() },
            .get("/api/v1/status/walreplay") { _ in
                .success { writer in
                    writer.object { writer in
                        for name in ["min", "max", "current"] {
                            writer.key(name)
                            writer.int(0)
                        }
                    }
                }
            },
        ]
    }

    private func runtimeInformation() -> APIReply {
        let reload = lastReload()
        var buffer = [CChar](repeating: 0, count: 4096)
        let directory =
            getcwd(&buffer, buffer.count) == nil
            ? "" : String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return .success { writer in
            writer.object { writer in
                let texts = [
                    ("startTime", formatRFC3339(startedAt)), ("CWD", directory), ("hostname", hostName()),
                    ("serverTime", formatRFC3339(WallClock.system.nowMilliseconds())),
                    ("lastConfigTime", formatRFC3339(reload.at)), ("GOGC", ""), ("GODEBUG", ""),
                    ("storageRetention", retention()), ("clusterName", clusterName()),
                ]
                for (name, value) in texts {
                    writer.key(name)
                    writer.string(value)
                }
                writer.key("reloadConfigSuccess")
                writer.bool(reload.successful)
                writer.key("corruptionCount")
                writer.int(0)
                writer.key("goroutineCount")
                writer.int(0)
                writer.key("GOMAXPROCS")
                writer.int(processorCount())
            }
        }
    }
}

package func hostName() -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, buffer.count) == 0 else { return "localhost" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
