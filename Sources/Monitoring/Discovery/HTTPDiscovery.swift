import Logging
import Platform

/// `http_sd_configs`: a URL that answers with target groups as JSON; what it said last stays while it fails.
struct HTTPDiscovery: Sendable {
    let url: String
    let refreshInterval: Int64
    let config: HTTPClientConfig

    func run(_ environment: DiscoveryEnvironment, update: @Sendable ([TargetGroup]) async -> Void) async {
        let authorizer = HTTPAuthorizer(config, client: environment.client, clock: environment.clock)
        let failures = environment.metrics.counter(
            "kops_discovery_http_failures_total", "Answers of HTTP discovery that were not usable.")
        while !Task.isCancelled {
            do {
                var request = HTTPRequest("GET", url)
                request.timeout = .milliseconds(min(refreshInterval, 30_000))
                request.headers.append(("Accept", "application/json"))
                request.headers.append(("X-Prometheus-Refresh-Interval-Seconds", "\(refreshInterval / 1000)"))
                let response = try await environment.client.send(try await authorizer.prepare(request))
                guard response.status == 200 else {
                    throw HTTPError(.protocolError, "\(redactURL(url)) answers with status \(response.status)")
                }
                let type = response.header("content-type") ?? ""
                guard type.hasPrefix("application/json") else {
                    throw HTTPError(.protocolError, "\(redactURL(url)) answers with \"\(type)\", not JSON")
                }
                var groups = try environment.parseTargets(response.body, url)
                for index in groups.indices { groups[index].labels["__meta_url"] = url }
                await update(groups)
            } catch {
                if Task.isCancelled { return }
                failures.add()
                environment.log.error("HTTP discovery failed", metadata: ["error": "\(error)"])
            }
            try? await Task.sleep(for: .milliseconds(refreshInterval))
        }
    }
}
