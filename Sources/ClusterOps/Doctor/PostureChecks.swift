/// The posture that manifests, kubelet's configuration and file modes show: the items of the CIS benchmark that can be read
/// without asking the cluster.
enum PostureChecks {
    static let all: [HostCheck] = [
        HostCheck(id: "apiserver", needsControlPlane: true, run: apiserver),
        HostCheck(id: "audit-log", needsControlPlane: true, run: auditLog),
        HostCheck(id: "encryption-at-rest", needsControlPlane: true, run: encryption),
        HostCheck(id: "controller-manager", needsControlPlane: true, run: controllerManager),
        HostCheck(id: "scheduler", needsControlPlane: true, run: scheduler),
        HostCheck(id: "etcd", needsControlPlane: true, run: etcd),
        HostCheck(id: "kubelet", needsNode: true, run: kubelet),
        HostCheck(id: "file-modes", needsNode: true, run: fileModes),
    ]

    private static func plane(
        _ id: String, _ severity: Finding.Severity, _ title: String, _ evidence: String, _ fix: String
    ) -> Finding {
        Finding(id, .controlPlane, severity, title, evidence: evidence, fix: fix)
    }

    private static let apiserverFile = "in /etc/kubernetes/manifests/kube-apiserver.yaml"

    private static func apiserver(_ facts: HostFacts) -> [Finding] {
        guard let flags = facts.manifests["kube-apiserver"] else { return [] }
        var out: [Finding] = []
        if flags["anonymous-auth"] != "false", flags["authentication-config"] == nil {
            out.append(
                plane(
                    "anonymous-auth", .info, "requests without credentials are taken as system:anonymous",
                    "--anonymous-auth is not false",
                    "kubeadm's probes use it; from 1.31 on limit it to /livez, /readyz and /healthz with --authentication-config"
                ))
        }
        let modes = (flags["authorization-mode"] ?? "AlwaysAllow").split(separator: ",")
        if flags["authorization-config"] == nil {
            if modes.contains("AlwaysAllow") {
                out.append(
                    plane(
                        "authorization-mode", .critical, "everybody may do everything",
                        "--authorization-mode=\(flags["authorization-mode"] ?? "AlwaysAllow (the default)")",
                        "set --authorization-mode=Node,RBAC \(apiserverFile)"))
            } else if !modes.contains("RBAC") || !modes.contains("Node") {
                out.append(
                    plane(
                        "authorization-mode", .warning, "the node authoriser or RBAC is not on",
                        "--authorization-mode=\(modes.joined(separator: ","))",
                        "set --authorization-mode=Node,RBAC \(apiserverFile)"))
            }
        }
        for (flag, what) in [("token-auth-file", "tokens"), ("basic-auth-file", "passwords")] where flags[flag] != nil {
            out.append(
                plane(
                    flag, .critical, "static \(what) let people in for ever", "--\(flag) is set",
                    "take it away \(apiserverFile); use client certificates, OIDC or service accounts"))
        }
        if let port = flags["insecure-port"], port != "0" {
            out.append(
                plane(
                    "insecure-port", .critical, "the API is served without authentication", "--insecure-port=\(port)",
                    "set --insecure-port=0 \(apiserverFile)"))
        }
        let plugins = (flags["enable-admission-plugins"] ?? "").split(separator: ",")
        if plugins.contains("AlwaysAdmit") {
            out.append(
                plane(
                    "always-admit", .critical, "admission lets everything through", "AlwaysAdmit is enabled",
                    "take AlwaysAdmit out of --enable-admission-plugins \(apiserverFile)"))
        }
        if !plugins.contains("NodeRestriction") {
            out.append(
                plane(
                    "node-restriction", .warning, "a node may change other nodes' objects",
                    "NodeRestriction is not among --enable-admission-plugins",
                    "add NodeRestriction to --enable-admission-plugins \(apiserverFile)"))
        }
        if flags["profiling"] != "false" {
            out.append(
                plane(
                    "profiling", .info, "profiling is served", "--profiling is not false",
                    "set --profiling=false \(apiserverFile)"))
        }
        if flags["kubelet-certificate-authority"] == nil {
            out.append(
                plane(
                    "kubelet-certificate-authority", .info, "the API server does not check kubelets' certificates",
                    "--kubelet-certificate-authority is not set",
                    "let kubelets get certificates of the cluster's CA (serverTLSBootstrap: true), approve them, then set it"
                ))
        }
        if let version = flags["tls-min-version"], ["VersionTLS10", "VersionTLS11"].contains(version) {
            out.append(
                plane(
                    "tls-min-version", .warning, "old TLS versions are served", "--tls-min-version=\(version)",
                    "set --tls-min-version=VersionTLS12 \(apiserverFile)"))
        }
        return out
    }

    private static func auditLog(_ facts: HostFacts) -> [Finding] {
        guard let flags = facts.manifests["kube-apiserver"] else { return [] }
        if flags["audit-log-path"] == nil, flags["audit-webhook-config-file"] == nil {
            return [
                plane(
                    "audit-log", .warning, "nobody writes down who changed what",
                    "neither --audit-log-path nor --audit-webhook-config-file is set",
                    "set --audit-policy-file and --audit-log-path with --audit-log-maxage=30, --audit-log-maxbackup=10, --audit-log-maxsize=100"
                )
            ]
        }
        guard flags["audit-log-path"] != nil, flags["audit-log-path"] != "-",
            ["audit-log-maxage", "audit-log-maxbackup", "audit-log-maxsize"].contains(where: { flags[$0] == nil })
        else { return [] }
        return [
            plane(
                "audit-log", .warning, "the audit log grows without bound", "a limit of --audit-log-max* is missing",
                "set --audit-log-maxage=30, --audit-log-maxbackup=10 and --audit-log-maxsize=100")
        ]
    }

    private static func encryption(_ facts: HostFacts) -> [Finding] {
        guard let flags = facts.manifests["kube-apiserver"], flags["encryption-provider-config"] == nil else {
            return []
        }
        return [
            plane(
                "encryption-at-rest", .warning, "secrets lie in etcd and in its backups in plain text",
                "--encryption-provider-config is not set",
                "write an EncryptionConfiguration for secrets, set the flag, then rewrite all secrets; keep the key beside the backups"
            )
        ]
    }

    private static func controllerManager(_ facts: HostFacts) -> [Finding] {
        guard let flags = facts.manifests["kube-controller-manager"] else { return [] }
        var out: [Finding] = []
        if flags["use-service-account-credentials"] != "true" {
            out.append(
                plane(
                    "controller-credentials", .warning, "all controllers share one identity",
                    "--use-service-account-credentials is not true",
                    "set it in /etc/kubernetes/manifests/kube-controller-manager.yaml"))
        }
        out += boundWide(flags, "kube-controller-manager")
        return out
    }

    private static func scheduler(_ facts: HostFacts) -> [Finding] {
        facts.manifests["kube-scheduler"].map { boundWide($0, "kube-scheduler") } ?? []
    }

    private static func boundWide(_ flags: [String: String], _ name: String) -> [Finding] {
        guard let address = flags["bind-address"], address != "127.0.0.1", address != "::1" else { return [] }
        return [
            plane(
                "bind-address", .info, "\(name) listens beyond the machine", "--bind-address=\(address)",
                "127.0.0.1 is enough unless its metrics are scraped from elsewhere")
        ]
    }

    private static func etcd(_ facts: HostFacts) -> [Finding] {
        guard let flags = facts.manifests["etcd"] else { return [] }
        var out: [Finding] = []
        for (flag, who) in [("client-cert-auth", "clients"), ("peer-client-cert-auth", "peers")]
        where flags[flag] != "true" {
            out.append(
                plane(
                    "etcd-\(flag)", .critical, "etcd lets \(who) in without a certificate", "--\(flag) is not true",
                    "set --\(flag)=true in /etc/kubernetes/manifests/etcd.yaml"))
        }
        for flag in ["auto-tls", "peer-auto-tls"] where flags[flag] == "true" {
            out.append(
                plane(
                    "etcd-\(flag)", .critical, "etcd makes certificates that nobody checks", "--\(flag)=true",
                    "take it away in /etc/kubernetes/manifests/etcd.yaml"))
        }
        if let urls = flags["listen-client-urls"], urls.contains("http://") {
            out.append(
                plane(
                    "etcd-plain", .critical, "etcd serves clients without TLS", "--listen-client-urls=\(urls)",
                    "use https:// URLs in /etc/kubernetes/manifests/etcd.yaml"))
        }
        return out
    }

    private static func kubelet(_ facts: HostFacts) -> [Finding] {
        guard !facts.kubelet.isEmpty else { return [] }
        let file = "in /var/lib/kubelet/config.yaml, and in the kubelet-config ConfigMap so that upgrades keep it"
        var out: [Finding] = []
        func add(_ id: String, _ severity: Finding.Severity, _ title: String, _ evidence: String, _ fix: String) {
            out.append(Finding(id, .kubelet, severity, title, evidence: evidence, fix: "\(fix) \(file)"))
        }
        if facts.kubelet["authentication.anonymous.enabled"] == "true" {
            add(
                "kubelet-anonymous", .critical, "kubelet lets everybody in", "authentication.anonymous.enabled: true",
                "set it to false")
        }
        if facts.kubelet["authorization.mode"] == "AlwaysAllow" {
            add(
                "kubelet-authorization", .critical, "kubelet lets every client do everything",
                "authorization.mode: AlwaysAllow", "set it to Webhook")
        }
        if let port = facts.kubelet["readOnlyPort"], port != "0" {
            add(
                "kubelet-read-only-port", .warning, "kubelet tells everybody of its pods", "readOnlyPort: \(port)",
                "set it to 0")
        }
        if facts.kubelet["rotateCertificates"] == "false" {
            add(
                "kubelet-rotation", .warning, "kubelet's certificate is not renewed", "rotateCertificates: false",
                "set it to true")
        }
        if facts.kubelet["protectKernelDefaults"] != "true" {
            add(
                "kubelet-kernel-defaults", .info, "kubelet changes kernel settings by itself",
                "protectKernelDefaults is not true", "set it to true after vm.overcommit_memory=1, kernel.panic=10")
        }
        return out
    }

    private static func fileModes(_ facts: HostFacts) -> [Finding] {
        var out: [Finding] = []
        func add(_ file: HostFacts.File, _ severity: Finding.Severity, _ title: String, mode: String) {
            out.append(
                Finding(
                    "file-mode", .files, severity, title,
                    evidence: "\(file.path) is \(octal(file.mode)), owner \(file.owner):\(file.group)",
                    fix: "chmod \(mode) \(file.path); chown root:root \(file.path)"))
        }
        for file in facts.files {
            let path = file.path
            let othersRead = file.mode & 0o044 != 0
            let othersWrite = file.mode & 0o022 != 0
            let isSecret =
                path.hasSuffix(".key") || (path.hasPrefix("/etc/kubernetes/") && path.hasSuffix(".conf"))
                || path.hasSuffix(".pem")
            if path == "/var/lib/etcd" {
                if file.mode & 0o077 != 0 { add(file, .warning, "others may enter etcd's directory", mode: "700") }
                continue
            }
            if isSecret, othersRead {
                add(
                    file, file.mode & 0o004 != 0 ? .critical : .warning, "others than root may read a private key",
                    mode: "600")
            } else if othersWrite {
                add(file, .critical, "others than root may change it", mode: file.isDirectory ? "755" : "600")
            } else if path.hasPrefix("/etc/kubernetes/"), file.owner != 0 {
                add(file, .warning, "it does not belong to root", mode: octal(file.mode))
            }
        }
        return out
    }

    private static func octal(_ mode: UInt32) -> String { String(mode & 0o7777, radix: 8) }
}
