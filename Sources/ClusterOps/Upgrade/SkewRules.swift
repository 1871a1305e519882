/// The version skew that Kubernetes supports, as far as an upgrade can break it.
package enum SkewRules {
    /// What forbids going to `target`; empty where nothing does.
    ///
    /// `apiservers`: the versions of the API servers by node; `kubelets`: those of the kubelets by node. A run that was cut
    /// off leaves some at the target already.
    package static func violations(
        target: KubernetesVersion, apiservers: [String: KubernetesVersion], kubelets: [String: KubernetesVersion]
    ) -> [String] {
        var out: [String] = []
        let servers = apiservers.sorted { $0.key < $1.key }
        for (node, version) in servers {
            if version.major != target.major {
                out.append("\(node): the API server is \(version): another major version than \(target)")
            } else if version.minor + 1 < target.minor {
                out.append(
                    "\(node): the API server is \(version): \(target) skips a minor version; go to v\(version.major).\(version.minor + 1) first"
                )
            } else if version > target {
                out.append("\(node): the API server is \(version), newer than \(target): kubeadm knows no way back")
            }
        }
        if let oldest = apiservers.values.map(\.minor).min(), let newest = apiservers.values.map(\.minor).max(),
            newest - oldest > 1
        {
            out.append("the API servers are more than one minor version apart")
        }
        for (node, version) in kubelets.sorted(by: { $0.key < $1.key }) {
            let allowed = allowedKubeletLag(kubelet: version)
            if version > target {
                out.append(
                    "\(node): the kubelet is \(version), newer than \(target): it must never be newer than the API server"
                )
            } else if target.minor - version.minor > allowed {
                out.append(
                    "\(node): the kubelet is \(version), more than \(allowed) minor versions behind \(target): upgrade it first"
                )
            }
        }
        return out
    }

    /// Minor versions that a kubelet may be behind its API server: three since 1.25's kubelets, two before.
    static func allowedKubeletLag(kubelet: KubernetesVersion) -> Int { kubelet.minor >= 25 ? 3 : 2 }
}
