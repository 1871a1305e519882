import Glibc
import Platform
import Testing

@testable import KopsSidecar
@testable import Kubernetes
@testable import Monitoring

private func load(_ text: String) throws -> SidecarConfig {
    var template = Array("/tmp/kops-config-XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { try? FileSystem.removeTree(directory) }
    try AtomicFile.write(Array(text.utf8), to: directory + "/c.yml")
    do {
        return try SidecarConfig.load(directory + "/c.yml")
    } catch {
        throw Problems(lines: error.lines.map { $0.replacing(directory + "/", with: "") })
    }
}

private struct Problems: Error { var lines: [String] }

private func problems(_ text: String) -> [String] {
    do {
        _ = try load(text)
        return []
    } catch {
        return (error as? Problems)?.lines ?? ["\(error)"]
    }
}

private func discovery(_ text: String) throws -> KubernetesDiscoveryConfig? {
    let config = try load("scrape_configs: [{job_name: a, kubernetes_sd_configs: [\(text)]}]")
    if case .kubernetes(let found) = config.scrapeConfigs.first?.discovery.first { return found }
    return nil
}

@Suite struct ClusterConfigTests {
    @Test func readsKubernetesDiscovery() throws {
        let pod = try #require(
            try discovery(
                """
                {role: pod, kubeconfig_file: /etc/kubernetes/admin.conf, namespaces: {names: [a, b]},
                 selectors: [{role: pod, label: "app=web", field: "status.phase=Running"}],
                 attach_metadata: {node: true, namespace: true}}
                """))
        #expect(pod.access == .kubeconfig("/etc/kubernetes/admin.conf"))
        #expect(pod.namespaces == ["a", "b"] && pod.attachNode && pod.attachNamespace)
        #expect(pod.options(.pod).labelSelector == "app=web")
        #expect(try discovery("{role: node}")?.access == .inCluster)
        #expect(try discovery("{role: pod, namespaces: {own_namespace: true}}")?.ownNamespace == true)
        let server = try #require(
            try discovery("{role: node, api_server: 'https://a:6443/', authorization: {credentials_file: token}}"))
        guard case .server(let access) = server.access else {
            Issue.record("not a server")
            return
        }
        #expect(access.server == "https://a:6443")
        #expect(access.tokenFile?.hasSuffix("/token") == true)
    }

    @Test(arguments: [
        ("{}", "lacks role"),
        (
            "{role: pods}",
            "must be node, pod, service, endpoints, endpointslice or ingress, not \"pods\" (did you mean pod?)"
        ),
        ("{role: node, tls_config: {ca_file: x}}", "provide the api_server URL explicitly"),
        ("{role: node, api_server: 'https://a', kubeconfig_file: x}", "at most one of api_server and kubeconfig_file"),
        ("{role: node, api_server: a}", "must begin with https:// or http://"),
        ("{role: node, selectors: [{role: pod}]}", "role node supports only node selectors"),
        ("{role: pod, selectors: [{role: pod}, {role: pod}]}", "a second selector of role pod"),
        ("{role: pod, attach_metadata: {pod: true}}", "unknown key"),
        (
            "{role: node, api_server: 'https://a', oauth2: {client_id: x, token_url: y}}",
            "not supported for an API server"
        ),
    ])
    func saysWhatIsWrong(_ text: String, _ finding: String) {
        let found = problems("scrape_configs: [{job_name: a, kubernetes_sd_configs: [\(text)]}]")
        #expect(found.count == 1 && found[0].hasPrefix("c.yml:1:") && found[0].contains(finding), "\(found)")
    }

    @Test(arguments: ["consul", "ec2", "docker", "openstack"])
    func refusesOtherDiscoveriesByName(_ name: String) {
        let found = problems("scrape_configs: [{job_name: a, \(name)_sd_configs: [{}]}]")
        #expect(found.count == 1 && found[0].contains("\(name)_sd_configs is not supported"), "\(found)")
    }

    @Test func readsWhatIsCollectedOfACluster() throws {
        #expect(try load("cluster: {name: a}").cluster.collector == nil)
        let both = try load("cluster: {kubeconfig: /k, objects: {interval: 1m}, metrics_server: {}}").cluster.collector
        #expect(both?.kubeconfig == "/k")
        #expect(both?.objectsInterval == 60_000 && both?.metricsServerInterval == 30_000)
        #expect(try load("cluster: {objects: {enabled: false}}").cluster.collector == nil)
        #expect(problems("cluster: {objects: {interval: 1ms}}").first?.contains("must be at least 1s") == true)
        #expect(problems("cluster: {objects: {intervall: 1s}}").first?.contains("did you mean interval?") == true)
    }
}
