import Kubernetes

/// kube-state-metrics' families of nodes and namespaces.
func nodeSamples(_ node: Node, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(common + [("node", node.name)])
    let info = node.status?.nodeInfo
    out.add(
        "kube_node_info",
        [
            ("kernel_version", info?.kernelVersion ?? ""), ("os_image", info?.osImage ?? ""),
            ("container_runtime_version", info?.containerRuntimeVersion ?? ""),
            ("kubelet_version", info?.kubeletVersion ?? ""),
            ("kubeproxy_version", info?.kubeProxyVersion ?? "deprecated"), ("provider_id", node.spec?.providerID ?? ""),
            ("pod_cidr", node.spec?.podCIDR ?? ""), ("system_uuid", info?.systemUUID ?? ""),
            ("internal_ip", node.address("InternalIP") ?? ""),
        ], 1.0)
    out.add("kube_node_created", milliseconds: node.metadata.creationTimestamp?.milliseconds)
    out.add("kube_node_deletion_timestamp", milliseconds: node.metadata.deletionTimestamp?.milliseconds)
    for label in (node.metadata.labels ?? [:]).keys where label.hasPrefix("node-role.kubernetes.io/") {
        out.add("kube_node_role", [("role", String(label.dropFirst("node-role.kubernetes.io/".count)))], 1.0)
    }
    out.add("kube_node_spec_unschedulable", flag: node.isUnschedulable)
    for taint in node.spec?.taints ?? [] {
        out.add(
            "kube_node_spec_taint", [("key", taint.key), ("value", taint.value ?? ""), ("effect", taint.effect)], 1.0)
    }
    for condition in node.status?.conditions ?? [] {
        out.addCondition("kube_node_status_condition", [("condition", condition.type)], condition.status)
    }
    for (name, quantity) in node.status?.capacity ?? [:] {
        out.addResource("kube_node_status_capacity", name, quantity)
    }
    for (name, quantity) in node.status?.allocatable ?? [:] {
        out.addResource("kube_node_status_allocatable", name, quantity)
    }
    return out.take()
}

func namespaceSamples(_ namespace: Namespace, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(common + [("namespace", namespace.name)])
    out.add("kube_namespace_created", milliseconds: namespace.metadata.creationTimestamp?.milliseconds)
    out.addState("kube_namespace_status_phase", "phase", ["Active", "Terminating"], is: namespace.status?.phase)
    return out.take()
}

extension SampleMaker {
    /// `status` true, false and unknown, 1 for the one that is.
    mutating func addCondition(
        _ name: String, _ labels: [(String, String)], _ status: String?, as label: String = "status"
    ) {
        addState(name, label, ["true", "false", "unknown"], is: status?.lowercased(), labels)
    }

    /// A resource under the name and unit that kube-state-metrics gives it.
    mutating func addResource(
        _ metric: String, _ resource: String, _ quantity: Quantity, _ labels: [(String, String)] = []
    ) {
        guard let value = quantity.value else { return }
        let name = sanitized(resource)
        let unit: String
        switch resource {
        case "cpu": unit = "core"
        case "memory", "storage", "ephemeral-storage": unit = "byte"
        case let name where name.hasPrefix("hugepages-") || name.hasPrefix("attachable-volumes-"): unit = "byte"
        default: unit = "integer"
        }
        add(metric, labels + [("resource", name), ("unit", unit)], value)
    }
}
