import Kubernetes

/// Collects an endpoints object's targets: those of its addresses, then one for each port of its pods' containers that no
/// endpoint named.
private struct EndpointTargets {
    var targets: [[String: String]] = []
    private var pods: [(pod: Pod, ports: [Int])] = []

    mutating func add(_ target: [String: String], port: Int?, portProtocol: String?, pod: Pod?) {
        guard let pod else { return targets.append(target) }
        var target = target.merging(podLabels(pod)) { _, new in new }
        search: for (container, isInit) in pod.allContainers {
            for declared in container.ports ?? [] where declared.containerPort == port {
                describe(container, declared, isInit, &target)
                if let portProtocol { target[metaPrefix + "pod_container_port_protocol"] = portProtocol }
                continue search
            }
        }
        targets.append(target)
        if let index = pods.firstIndex(where: { $0.pod.key == pod.key }) {
            if let port { pods[index].ports.append(port) }
        } else {
            pods.append((pod, port.map { [$0] } ?? []))
        }
    }

    mutating func finish() {
        for (pod, ports) in pods {
            guard let ip = pod.status?.podIP, !ip.isEmpty else { continue }
            let labels = podLabels(pod)
            for (container, isInit) in pod.allContainers {
                for port in container.ports ?? [] where !ports.contains(port.containerPort) {
                    var target = labels
                    target["__address__"] = joined(ip, port.containerPort)
                    describe(container, port, isInit, &target)
                    targets.append(target)
                }
            }
        }
    }

    private func describe(
        _ container: Pod.Container, _ port: Pod.Port, _ isInit: Bool, _ target: inout [String: String]
    ) {
        target[metaPrefix + "pod_container_name"] = container.name
        target[metaPrefix + "pod_container_image"] = container.image ?? ""
        target[metaPrefix + "pod_container_port_name"] = port.name ?? ""
        target[metaPrefix + "pod_container_port_number"] = String(port.containerPort)
        target[metaPrefix + "pod_container_port_protocol"] = port.protocol ?? ""
        target[metaPrefix + "pod_container_init"] = isInit ? "true" : "false"
    }
}

func endpointsGroup(_ endpoints: Endpoints, _ context: KubernetesContext) -> TargetGroup {
    var labels = [
        metaPrefix + "namespace": endpoints.namespace, metaPrefix + "endpoints_name": endpoints.name,
    ]
    addMeta(endpoints.metadata, "endpoints", to: &labels)
    if let service = context.services[endpoints.key] { labels.merge(serviceLabels(service)) { _, new in new } }
    context.addNamespace(endpoints.namespace, to: &labels)
    var out = EndpointTargets()
    for subset in endpoints.subsets ?? [] {
        for port in subset.ports ?? [] {
            for (addresses, ready) in [(subset.addresses, "true"), (subset.notReadyAddresses, "false")] {
                for address in addresses ?? [] {
                    var target = [
                        "__address__": joined(address.ip, port.port),
                        metaPrefix + "endpoint_port_name": port.name ?? "",
                        metaPrefix + "endpoint_port_protocol": port.protocol ?? "",
                        metaPrefix + "endpoint_ready": ready,
                    ]
                    if let reference = address.targetRef {
                        target[metaPrefix + "endpoint_address_target_kind"] = reference.kind ?? ""
                        target[metaPrefix + "endpoint_address_target_name"] = reference.name ?? ""
                    }
                    if let node = address.nodeName { target[metaPrefix + "endpoint_node_name"] = node }
                    if let host = address.hostname, !host.isEmpty { target[metaPrefix + "endpoint_hostname"] = host }
                    let isNode = address.targetRef?.kind == "Node"
                    context.addNode(isNode ? address.targetRef?.name : address.nodeName, to: &target)
                    out.add(
                        target, port: port.port, portProtocol: port.protocol ?? "", pod: context.pod(address.targetRef))
                }
            }
        }
    }
    out.finish()
    return TargetGroup(targets: out.targets, labels: labels, source: "endpoints/\(endpoints.key)")
}

func sliceGroup(_ slice: EndpointSlice, _ context: KubernetesContext) -> TargetGroup {
    let prefix = metaPrefix + "endpointslice_"
    var labels = [
        metaPrefix + "namespace": slice.namespace, prefix + "address_type": slice.addressType ?? "",
        prefix + "name": slice.name,
    ]
    addMeta(slice.metadata, "endpointslice", to: &labels)
    if let name = slice.metadata.labels?["kubernetes.io/service-name"],
        let service = context.services[ObjectKey(namespace: slice.namespace, name: name)]
    {
        labels.merge(serviceLabels(service)) { _, new in new }
    }
    context.addNamespace(slice.namespace, to: &labels)
    var out = EndpointTargets()
    for endpoint in slice.endpoints ?? [] {
        for port in slice.ports ?? [] {
            for address in endpoint.addresses ?? [] {
                var target = ["__address__": port.port.map { joined(address, $0) } ?? address]
                func set(_ name: String, _ value: String?) { if let value { target[prefix + name] = value } }
                set("port_name", port.name)
                set("port_protocol", port.protocol)
                set("port", port.port.map { String($0) })
                set("port_app_protocol", port.appProtocol)
                set("endpoint_conditions_ready", endpoint.conditions?.ready.map { "\($0)" })
                set("endpoint_conditions_serving", endpoint.conditions?.serving.map { "\($0)" })
                set("endpoint_conditions_terminating", endpoint.conditions?.terminating.map { "\($0)" })
                set("endpoint_hostname", endpoint.hostname)
                set("endpoint_node_name", endpoint.nodeName)
                set("endpoint_zone", endpoint.zone)
                if let reference = endpoint.targetRef {
                    set("address_target_kind", reference.kind ?? "")
                    set("address_target_name", reference.name ?? "")
                }
                for (name, value) in endpoint.topology ?? endpoint.deprecatedTopology ?? [:] {
                    target[prefix + "endpoint_topology_" + sanitized(name)] = value
                    target[prefix + "endpoint_topology_present_" + sanitized(name)] = "true"
                }
                let isNode = endpoint.targetRef?.kind == "Node"
                context.addNode(isNode ? endpoint.targetRef?.name : endpoint.nodeName, to: &target)
                out.add(target, port: port.port, portProtocol: nil, pod: context.pod(endpoint.targetRef))
            }
        }
    }
    out.finish()
    return TargetGroup(targets: out.targets, labels: labels, source: "endpointslice/\(slice.key)")
}
