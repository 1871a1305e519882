import Kubernetes

let metaPrefix = "__meta_kubernetes_"

/// What targets of one object say of others.
struct KubernetesContext: Sendable {
    var pods: [ObjectKey: Pod] = [:]
    var services: [ObjectKey: Service] = [:]
    var nodes: [ObjectKey: Node] = [:]
    var namespaces: [ObjectKey: Namespace] = [:]
    var attachNode = false
    var attachNamespace = false

    func addNode(_ name: String?, to labels: inout [String: String]) {
        guard attachNode, let name, let node = nodes[ObjectKey(name: name)] else { return }
        labels[metaPrefix + "node_name"] = name
        addMeta(node.metadata, "node", to: &labels)
    }

    func addNamespace(_ name: String, to labels: inout [String: String]) {
        guard attachNamespace, let namespace = namespaces[ObjectKey(name: name)] else { return }
        addMeta(namespace.metadata, "namespace", to: &labels)
    }

    func pod(_ reference: ObjectReference?) -> Pod? {
        guard let reference, reference.kind == "Pod" else { return nil }
        return pods[ObjectKey(namespace: reference.namespace ?? "", name: reference.name ?? "")]
    }
}

/// Every label and annotation of an object, each also with a `…present_` one.
func addMeta(_ meta: ObjectMeta, _ kind: String, to labels: inout [String: String]) {
    for (name, value) in meta.labels ?? [:] {
        let name = sanitized(name)
        labels["\(metaPrefix)\(kind)_label_\(name)"] = value
        labels["\(metaPrefix)\(kind)_labelpresent_\(name)"] = "true"
    }
    for (name, value) in meta.annotations ?? [:] {
        let name = sanitized(name)
        labels["\(metaPrefix)\(kind)_annotation_\(name)"] = value
        labels["\(metaPrefix)\(kind)_annotationpresent_\(name)"] = "true"
    }
}

/// Whatever a label's name may not have becomes an underscore.
func sanitized(_ name: String) -> String {
    String(
        decoding: name.unicodeScalars.map { scalar -> UInt8 in
            switch scalar {
            case "a"..."z", "A"..."Z", "0"..."9", "_": UInt8(scalar.value)
            default: UInt8(ascii: "_")
            }
        }, as: UTF8.self)
}

/// `host:port`, with brackets around an IPv6 address.
func joined(_ host: String, _ port: Int) -> String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

func podLabels(_ pod: Pod) -> [String: String] {
    var labels: [String: String] = [:]
    labels[metaPrefix + "pod_name"] = pod.name
    labels[metaPrefix + "pod_ip"] = pod.status?.podIP ?? ""
    let ready = pod.status?.conditions?.first { $0.type == "Ready" }?.status ?? "Unknown"
    labels[metaPrefix + "pod_ready"] = ready.lowercased()
    labels[metaPrefix + "pod_phase"] = pod.status?.phase ?? ""
    labels[metaPrefix + "pod_node_name"] = pod.spec?.nodeName ?? ""
    labels[metaPrefix + "pod_host_ip"] = pod.status?.hostIP ?? ""
    labels[metaPrefix + "pod_uid"] = pod.metadata.uid ?? ""
    if let controller = pod.metadata.controller {
        labels[metaPrefix + "pod_controller_kind"] = controller.kind
        labels[metaPrefix + "pod_controller_name"] = controller.name
    }
    addMeta(pod.metadata, "pod", to: &labels)
    return labels
}

func serviceLabels(_ service: Service) -> [String: String] {
    var labels = [metaPrefix + "service_name": service.name, metaPrefix + "namespace": service.namespace]
    addMeta(service.metadata, "service", to: &labels)
    return labels
}

extension Pod {
    /// Init containers after the others, as they are counted for targets.
    var allContainers: [(container: Container, isInit: Bool)] {
        (spec?.containers ?? []).map { ($0, false) } + (spec?.initContainers ?? []).map { ($0, true) }
    }

    func containerID(_ name: String, isInit: Bool) -> String? {
        (isInit ? status?.initContainerStatuses : status?.containerStatuses)?.first { $0.name == name }?.containerID
    }
}
