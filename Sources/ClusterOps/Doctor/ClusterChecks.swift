/// The posture that only the API shows. Pure functions over what it tells.
enum ClusterChecks {
    typealias Check = @Sendable (ClusterFacts, _ now: Int64) -> [Finding]

    static let all: [Check] = [
        privilegedPods, hostPaths, wildcards, admins, strangers, podSecurity, defaultAccounts, tokens,
    ]

    /// The cluster's own namespaces: what runs there has to.
    private static let own: Set<String> = ["kube-system", "kube-public", "kube-node-lease"]

    private static func finding(
        _ id: String, _ severity: Finding.Severity, _ title: String, _ evidence: String, _ fix: String
    ) -> Finding {
        Finding(id, .cluster, severity, title, evidence: evidence, fix: fix)
    }

    /// The first few, and how many more.
    private static func some(_ names: [String]) -> String {
        names.prefix(8).joined(separator: ", ") + (names.count > 8 ? " and \(names.count - 8) more" : "")
    }

    private static func privilegedPods(_ facts: ClusterFacts, _ now: Int64) -> [Finding] {
        let pods = facts.pods.filter { !own.contains($0.namespace) && ($0.isPrivileged || $0.usesHostProcesses) }
        guard !pods.isEmpty else { return [] }
        return [
            finding(
                "privileged-pods", .warning, "pods have the rights of root on their node", some(pods.map(\.id)),
                "take privileged, hostPID and hostIPC away, or keep them in a namespace that is watched")
        ]
    }

    private static func hostPaths(_ facts: ClusterFacts, _ now: Int64) -> [Finding] {
        let dangerous = [
            "/", "/etc", "/root", "/var/lib/kubelet", "/var/lib/etcd", "/etc/kubernetes", "/var/run", "/run",
        ]
        let sockets = ["docker.sock", "containerd.sock", "crio.sock"]
        let pods = facts.pods.filter { pod in
            !own.contains(pod.namespace)
                && pod.hostPaths.contains { path in
                    dangerous.contains(path) || sockets.contains { path.hasSuffix($0) }
                }
        }
        guard !pods.isEmpty else { return [] }
        return [
            finding(
                "host-paths", .warning, "pods mount directories that give them their node",
                some(pods.map { "\($0.id) (\($0.hostPaths.joined(separator: ", ")))" }),
                "mount less, and read-only; enforce Pod Security baseline in the namespace")
        ]
    }

    private static func wildcards(_ facts: ClusterFacts, _ now: Int64) -> [Finding] {
        let bound = Set(facts.bindings.filter { !$0.subjects.isEmpty }.map(\.role))
        let roles = facts.roles.filter { role in
            role.name != "cluster-admin" && !role.name.hasPrefix("system:") && bound.contains(role.name)
                && role.rules.contains { rule in
                    rule.verbs.contains("*") && rule.resources.contains("*") && rule.groups.contains("*")
                }
        }
        guard !roles.isEmpty else { return [] }
        return [
            finding(
                "rbac-wildcards", .warning, "roles beside cluster-admin allow everything", some(roles.map(\.name)),
                "name the verbs and resources that are needed")
        ]
    }

    private static func admins(_ facts: ClusterFacts, _ now: Int64) -> [Finding] {
        let bindings = facts.bindings.filter { binding in
            binding.role == "cluster-admin"
                && binding.subjects.contains { $0 != "Group system:masters" && $0 != "Group kubeadm:cluster-admins" }
        }
        let accounts = bindings.flatMap(\.subjects).filter { $0.hasPrefix("ServiceAccount ") }
        var out: [Finding] = []
        if !accounts.isEmpty {
            out.append(
                finding(
                    "admin-accounts", .warning, "service accounts may do everything", some(accounts),
                    "whoever runs a pod with such an account owns the cluster: give it a role of its own"))
        }
        let people = bindings.flatMap(\.subjects).filter {
            !$0.hasPrefix("ServiceAccount ") && $0 != "Group system:masters" && $0 != "Group kubeadm:cluster-admins"
        }
        if !people.isEmpty {
            out.append(
                finding(
                    "admins", .info, "users and groups may do everything", some(people),
                    "look whether each still should: kubectl get clusterrolebindings -o wide"))
        }
        return out
    }

    /// What kubeadm and Kubernetes themselves allow to those who show no credentials.
    private static let openRoles: Set<String> = [
        "system:public-info-viewer", "system:discovery", "system:basic-user", "kubeadm:bootstrap-signer-clusterinfo",
        "system:service-account-issuer-discovery",
    ]

    private static func strangers(_ facts: ClusterFacts, _ now: Int64) -> [Finding] {
        facts.bindings.compactMap { binding in
            let strangers = binding.subjects.filter {
                $0 == "User system:anonymous" || $0 == "Group system:unauthenticated"
            }
            guard !strangers.isEmpty, !openRoles.contains(binding.role) else { return nil }
            return finding(
                "anonymous-rights", .critical, "everybody without credentials has the role \(binding.role)",
                "clusterrolebinding \(binding.name): \(strangers.joined(separator: ", "))",
                "kubectl delete clusterrolebinding \(binding.name)")
        }
    }

    private static func podSecurity(_ facts: ClusterFacts, _ now: Int64) -> [Finding] {
        // Pod Security admission is on by default from 1.23.
        guard facts.minor >= 23 else { return [] }
        let open = facts.spaces.filter { space in
            !own.contains(space.name) && (space.enforced == nil || space.enforced == "privileged")
                && facts.pods.contains { $0.namespace == space.name }
        }
        guard !open.isEmpty else { return [] }
        return [
            finding(
                "pod-security", .info, "namespaces take pods of any privilege", some(open.map(\.name)),
                "kubectl label namespace NAME pod-security.kubernetes.io/enforce=baseline, first with warn= in place of enforce="
            )
        ]
    }

    private static func defaultAccounts(_ facts: ClusterFacts, _ now: Int64) -> [Finding] {
        let mounting = Set(facts.accounts.filter { $0.mountsToken != false }.map(\.namespace))
        let pods = facts.pods.filter { pod in
            !own.contains(pod.namespace) && pod.serviceAccount == "default" && pod.mountsToken != false
                && mounting.contains(pod.namespace)
        }
        guard !pods.isEmpty else { return [] }
        let spaces = Set(pods.map(\.namespace)).sorted()
        return [
            finding(
                "default-accounts", .info, "pods carry the token of the default service account",
                "\(pods.count) pods in \(some(spaces))",
                "kubectl patch serviceaccount default -n NAMESPACE -p '{\"automountServiceAccountToken\":false}'")
        ]
    }

    private static func tokens(_ facts: ClusterFacts, _ now: Int64) -> [Finding] {
        var out: [Finding] = []
        let endless = facts.tokens.filter { $0.expires == nil }.map(\.id)
        if !endless.isEmpty {
            out.append(
                finding(
                    "bootstrap-tokens", .warning, "bootstrap tokens let nodes join for ever", some(endless),
                    "kubeadm token delete ID; make new ones when a node is to join"))
        }
        let expired = facts.tokens.filter { $0.expires.map { $0 < now } ?? false }.map(\.id)
        if !expired.isEmpty {
            out.append(
                finding(
                    "expired-tokens", .info, "expired bootstrap tokens are still stored", some(expired),
                    "the controller manager removes them: see that its token cleaner runs, or kubeadm token delete ID"))
        }
        return out
    }
}
