import Kubernetes

/// One target: the kubelet, under the first address of the kinds that kubelets are reached by.
func nodeGroup(_ node: Node) -> TargetGroup? {
    let order = ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"]
    guard let address = order.lazy.compactMap({ node.address($0) }).first else { return nil }
    var labels = [metaPrefix + "node_name": node.name, metaPrefix + "node_provider_id": node.spec?.providerID ?? ""]
    addMeta(node.metadata, "node", to: &labels)
    var target = [
        "__address__": joined(address, node.status?.daemonEndpoints?.kubeletEndpoint?.port ?? 0), "instance": node.name,
    ]
    for entry in (node.status?.addresses ?? []).reversed() {
        target["\(metaPrefix)node_address_\(sanitized(entry.type))"] = entry.address
    }
    return TargetGroup(targets: [target], labels: labels, source: "node/\(node.name)")
}

/// One target for each port of each container, or one without a port for a container that declares none.
func podGroup(_ pod: Pod, _ context: KubernetesContext) -> TargetGroup? {
    // A pod that starts, or that was evicted, has no address.
    guard let ip = pod.status?.podIP, !ip.isEmpty else { return nil }
    var labels = podLabels(pod)
    labels[metaPrefix + "namespace"] = pod.namespace
    context.addNode(pod.spec?.nodeName, to: &labels)
    context.addNamespace(pod.namespace, to: &labels)
    var targets: [[String: String]] = []
    for (container, isInit) in pod.allContainers {
        var target = [
            metaPrefix + "pod_container_name": container.name,
            metaPrefix + "pod_container_id": pod.containerID(container.name, isInit: isInit) ?? "",
            metaPrefix + "pod_container_image": container.image ?? "",
            metaPrefix + "pod_container_init": isInit ? "true" : "false",
        ]
        let ports = container.ports ?? []
        if ports.isEmpty {
            target["__address__"] = ip
            targets.append(target)
        }
        for port in ports {
            target["__address__"] = joined(ip, port.containerPort)
            target[metaPrefix + "pod_container_port_name"] = port.name ?? ""
            target[metaPrefix + "pod_container_port_number"] = String(port.containerPort)
            target[metaPrefix + "pod_container_port_protocol"] = port.protocol ?? ""
            targets.append(target)
        }
    }
    return TargetGroup(targets: targets, labels: labels, source: "pod/\(pod.key)")
}

/// One target for each port, under the service's name in the cluster's DNS.
func serviceGroup(_ service: Service, _ context: KubernetesContext) -> TargetGroup {
    var labels = serviceLabels(service)
    context.addNamespace(service.namespace, to: &labels)
    let type = service.spec?.type ?? ""
    let targets = (service.spec?.ports ?? []).map { port in
        var target = [
            "__address__": joined("\(service.name).\(service.namespace).svc", port.port),
            metaPrefix + "service_port_name": port.name ?? "",
            metaPrefix + "service_port_number": String(port.port),
            metaPrefix + "service_port_protocol": port.protocol ?? "",
            metaPrefix + "service_type": type,
        ]
        if type == "ExternalName" {
            target[metaPrefix + "service_external_name"] = service.spec?.externalName ?? ""
        } else {
            target[metaPrefix + "service_cluster_ip"] = service.spec?.clusterIP ?? ""
        }
        if type == "LoadBalancer" {
            target[metaPrefix + "service_loadbalancer_ip"] = service.spec?.loadBalancerIP ?? ""
        }
        return target
    }
    return TargetGroup(targets: targets, labels: labels, source: "svc/\(service.key)")
}

/// One target for each path of each rule; to be probed, not scraped.
func ingressGroup(_ ingress: Ingress, _ context: KubernetesContext) -> TargetGroup {
    var labels = [metaPrefix + "ingress_name": ingress.name, metaPrefix + "namespace": ingress.namespace]
    if let name = ingress.spec?.ingressClassName { labels[metaPrefix + "ingress_class_name"] = name }
    addMeta(ingress.metadata, "ingress", to: &labels)
    context.addNamespace(ingress.namespace, to: &labels)
    let secured = (ingress.spec?.tls ?? []).flatMap { $0.hosts ?? [] }
    var targets: [[String: String]] = []
    for rule in ingress.spec?.rules ?? [] {
        let host = rule.host ?? ""
        let scheme = secured.contains { covers($0, host) } ? "https" : "http"
        for path in rule.http.map({ ($0.paths ?? []).map { $0.path ?? "" } }) ?? ["/"] {
            targets.append([
                "__address__": host, metaPrefix + "ingress_scheme": scheme, metaPrefix + "ingress_host": host,
                metaPrefix + "ingress_path": path.isEmpty ? "/" : path,
            ])
        }
    }
    return TargetGroup(targets: targets, labels: labels, source: "ingress/\(ingress.key)")
}

/// Whether a certificate for `pattern`, whose first part may be `*`, is one for `host`.
private func covers(_ pattern: String, _ host: String) -> Bool {
    if pattern == host { return true }
    let want = pattern.split(separator: ".", omittingEmptySubsequences: false)
    let have = host.split(separator: ".", omittingEmptySubsequences: false)
    return want.first == "*" && want.count == have.count && want.dropFirst() == have.dropFirst()
}
