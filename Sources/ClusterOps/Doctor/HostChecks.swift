/// A check: a pure function over what a machine tells of itself.
struct HostCheck: Sendable {
    let id: String
    /// Whether it says anything of a machine that is no kubeadm node yet.
    var needsNode = false
    var needsControlPlane = false
    let run: @Sendable (HostFacts) -> [Finding]

    func applies(to facts: HostFacts) -> Bool {
        if needsControlPlane { return facts.runsControlPlane }
        return !needsNode || facts.role != .none
    }
}

/// What kubeadm and kubelet ask of a machine.
enum HostChecks {
    static let all: [HostCheck] = [
        HostCheck(id: "processors", run: processors), HostCheck(id: "memory", run: memory),
        HostCheck(id: "kernel", run: kernel), HostCheck(id: "cgroup", run: cgroup), HostCheck(id: "swap", run: swap),
        HostCheck(id: "modules", run: modules), HostCheck(id: "sysctls", run: sysctls),
        HostCheck(id: "inotify", run: inotify), HostCheck(id: "ports", run: ports), HostCheck(id: "clock", run: clock),
        HostCheck(id: "disk", run: disk), HostCheck(id: "runtime", run: runtime),
        HostCheck(id: "programs", run: programs), HostCheck(id: "host-name", run: hostName),
        HostCheck(id: "resolver", run: resolver),
        HostCheck(id: "cidr-overlap", needsControlPlane: true, run: overlap),
        HostCheck(id: "stray-manifests", needsNode: true, run: strayManifests),
        HostCheck(id: "leftovers", needsNode: true, run: leftovers),
        HostCheck(id: "certificates", needsNode: true, run: certificates),
    ]

    private static func finding(
        _ id: String, _ severity: Finding.Severity, _ title: String, _ evidence: String, _ fix: String
    ) -> Finding {
        Finding(id, .host, severity, title, evidence: evidence, fix: fix)
    }

    private static func gib(_ bytes: Int64) -> String {
        let tenths = bytes / (1 << 20) * 10 / 1024
        return "\(tenths / 10).\(tenths % 10) GiB"
    }

    private static func processors(_ facts: HostFacts) -> [Finding] {
        guard facts.processors > 0, facts.processors < 2, facts.role != .worker else { return [] }
        return [
            finding(
                "processors", .warning, "fewer than two CPUs", "\(facts.processors) CPU",
                "kubeadm asks for two on a control plane: give the machine another one")
        ]
    }

    private static func memory(_ facts: HostFacts) -> [Finding] {
        // kubeadm's own minimum; a kernel keeps a part of what the machine has for itself.
        let minimum: Int64 = facts.role == .worker ? 900 << 20 : 1700 << 20
        guard facts.memoryBytes > 0, facts.memoryBytes < minimum else { return [] }
        return [
            finding(
                "memory", .warning, "less memory than kubeadm asks for", gib(facts.memoryBytes),
                "give the machine at least \(facts.role == .worker ? "1" : "2") GiB")
        ]
    }

    private static func kernel(_ facts: HostFacts) -> [Finding] {
        let numbers = facts.kernel.split(whereSeparator: { !$0.isNumber }).prefix(2).compactMap { Int($0) }
        guard numbers.count == 2 else { return [] }
        let version = (numbers[0], numbers[1])
        if version < (3, 10) {
            return [
                finding(
                    "kernel", .critical, "the kernel is older than kubelet supports", facts.kernel,
                    "run Linux 4.19 or later, better a long-term one that is still maintained")
            ]
        }
        guard version < (4, 19) else { return [] }
        return [
            finding(
                "kernel", .warning, "the kernel is no longer maintained", facts.kernel,
                "run Linux 5.8 or later: cgroup v2 and current Kubernetes need it")
        ]
    }

    private static func cgroup(_ facts: HostFacts) -> [Finding] {
        var out: [Finding] = []
        switch facts.cgroup {
        case .v2: break
        case .v1, .hybrid:
            out.append(
                finding(
                    "cgroup", .warning, "the machine runs cgroup v1", "cgroup \(facts.cgroup.rawValue)",
                    "boot with systemd.unified_cgroup_hierarchy=1: kubelet from 1.35 on refuses v1 unless failCgroupV1 is false"
                ))
        case .none:
            out.append(
                finding(
                    "cgroup", .critical, "no cgroups are mounted", "/sys/fs/cgroup holds neither v1 nor v2",
                    "mount cgroup v2 at /sys/fs/cgroup"))
        }
        if let driver = facts.kubelet["cgroupDriver"], let systemd = facts.containerdSystemdCgroup,
            (driver == "systemd") != systemd
        {
            out.append(
                finding(
                    "cgroup-driver", .critical, "kubelet and containerd use different cgroup drivers",
                    "kubelet: \(driver), containerd: SystemdCgroup = \(systemd)",
                    "make both systemd: cgroupDriver in /var/lib/kubelet/config.yaml, SystemdCgroup in /etc/containerd/config.toml"
                ))
        }
        return out
    }

    private static func swap(_ facts: HostFacts) -> [Finding] {
        guard !facts.swaps.isEmpty else { return [] }
        let allowed = facts.kubelet["failSwapOn"] == "false"
        return [
            finding(
                "swap", allowed ? .info : facts.role == .none ? .warning : .critical,
                allowed ? "swap is on; kubelet is told to bear it" : "swap is on: kubelet refuses to start",
                facts.swaps.joined(separator: ", "),
                "swapoff -a, and take the swap out of /etc/fstab; or set failSwapOn: false and memorySwap on purpose")
        ]
    }

    private static func modules(_ facts: HostFacts) -> [Finding] {
        guard !facts.modules.isEmpty else { return [] }
        return ["overlay", "br_netfilter"].filter { !facts.modules.contains($0) }.map { name in
            finding(
                "module-\(name)", name == "overlay" ? .critical : .warning, "kernel module \(name) is not loaded",
                "not in /proc/modules and not built in",
                "modprobe \(name); echo \(name) > /etc/modules-load.d/\(name).conf")
        }
    }

    private static func sysctls(_ facts: HostFacts) -> [Finding] {
        var out: [Finding] = []
        let wanted: [(String, String, Finding.Severity)] = [
            ("net.ipv4.ip_forward", "1", .critical), ("net.bridge.bridge-nf-call-iptables", "1", .warning),
        ]
        for (name, value, severity) in wanted {
            guard let found = facts.sysctls[name], found != value else { continue }
            out.append(
                finding(
                    "sysctl-\(name)", facts.role == .none ? .warning : severity, "\(name) is \(found)",
                    "/proc/sys/\(name.replacing(".", with: "/"))",
                    "sysctl -w \(name)=\(value); write it to /etc/sysctl.d/99-kubernetes.conf"))
        }
        guard facts.kubelet["protectKernelDefaults"] == "true" else { return out }
        for (name, value) in [("vm.overcommit_memory", "1"), ("kernel.panic", "10"), ("kernel.panic_on_oops", "1")] {
            guard let found = facts.sysctls[name], found != value else { continue }
            out.append(
                finding(
                    "sysctl-\(name)", .critical,
                    "\(name) is \(found), and kubelet with protectKernelDefaults does not start", "wanted \(value)",
                    "sysctl -w \(name)=\(value); write it to /etc/sysctl.d/99-kubernetes.conf"))
        }
        return out
    }

    private static func inotify(_ facts: HostFacts) -> [Finding] {
        guard let text = facts.sysctls["fs.inotify.max_user_instances"], let value = Int(text), value < 256 else {
            return []
        }
        return [
            finding(
                "inotify", .info, "few inotify instances for a user",
                "fs.inotify.max_user_instances is \(value)",
                "nodes with many pods run out of them (\"too many open files\"): sysctl -w fs.inotify.max_user_instances=8192"
            )
        ]
    }

    private static func ports(_ facts: HostFacts) -> [Finding] {
        let taken = Set(facts.listeners.map(\.port))
        switch facts.role {
        case .none:
            let wanted: [(UInt16, String)] = [
                (6443, "the API server"), (2379, "etcd"), (2380, "etcd"), (10250, "kubelet"),
                (10257, "the controller manager"), (10259, "the scheduler"),
            ]
            return wanted.filter { taken.contains($0.0) }.map { port, user in
                finding(
                    "port-\(port)", .warning, "port \(port) is taken, which \(user) needs", "something listens on it",
                    "find it with: ss -ltnp 'sport = :\(port)'")
            }
        case .controlPlane, .worker:
            guard !taken.isEmpty else { return [] }
            let securePort = facts.manifests["kube-apiserver"]?["secure-port"].flatMap { UInt16($0) } ?? 6443
            var wanted: [(UInt16, String, Finding.Severity)] = [(10250, "kubelet", .critical)]
            if facts.runsControlPlane {
                wanted += [(securePort, "the API server", .critical)]
                if facts.manifests["etcd"] != nil { wanted += [(2379, "etcd", .critical)] }
            }
            return wanted.filter { !taken.contains($0.0) }.map { port, user, severity in
                finding(
                    "port-\(port)", severity, "nothing listens on port \(port), where \(user) should be",
                    "no listening socket in /proc/net/tcp",
                    user == "kubelet"
                        ? "systemctl status kubelet; journalctl -u kubelet" : "crictl ps -a; look at its log")
            }
        }
    }

    private static func clock(_ facts: HostFacts) -> [Finding] {
        if facts.clock == .unsynchronised {
            return [
                finding(
                    "clock", .warning, "the clock is not kept in time",
                    "the kernel says that nothing synchronises it",
                    "run chrony or systemd-timesyncd: certificates, leases and logs depend on the time")
            ]
        }
        guard let error = facts.clockErrorMilliseconds, error > 500 else { return [] }
        return [
            finding(
                "clock", .warning, "the clock may be off by \(error) ms", "the kernel's own estimate",
                "look at chronyc tracking or timedatectl timesync-status")
        ]
    }

    private static func disk(_ facts: HostFacts) -> [Finding] {
        var seen: Set<Int64> = []
        return facts.disks.compactMap { disk in
            guard disk.totalBytes > 0 else { return nil }
            let share = Double(disk.freeBytes) / Double(disk.totalBytes)
            // kubelet evicts below 10 % of its file system; etcd and kubeadm's copies of it need room of their own.
            let small = disk.freeBytes < 2 << 30
            let severity: Finding.Severity? =
                share < 0.05 || disk.freeBytes < 512 << 20 ? .critical : share < 0.15 || small ? .warning : nil
            // The same file system under another path is one finding.
            guard let severity, seen.insert(disk.freeBytes &* 31 &+ disk.totalBytes).inserted else { return nil }
            return finding(
                "disk", severity, "little room on the file system of \(disk.path)",
                "\(gib(disk.freeBytes)) of \(gib(disk.totalBytes)) free (\(Int(share * 100)) %)",
                "make room: crictl rmi --prune, journalctl --vacuum-size=500M, old copies below /etc/kubernetes/tmp")
        }
    }

    private static func runtime(_ facts: HostFacts) -> [Finding] {
        if facts.runtimeSockets.isEmpty {
            return [
                finding(
                    "runtime", facts.role == .none ? .warning : .critical, "no container runtime answers",
                    "none of containerd's, CRI-O's and cri-dockerd's sockets is there",
                    "install containerd and start it: systemctl enable --now containerd")
            ]
        }
        guard facts.runtimeSockets.contains(where: { $0.contains("dockershim") }), facts.role != .none else {
            return []
        }
        return [
            finding(
                "runtime", .warning, "kubelet's dockershim is in use", "/var/run/dockershim.sock",
                "move to containerd before Kubernetes 1.24, which has no dockershim")
        ]
    }

    private static func programs(_ facts: HostFacts) -> [Finding] {
        let needed = facts.missingPrograms.filter { ["conntrack", "ip", "iptables", "mount", "nsenter"].contains($0) }
        let wanted = facts.missingPrograms.filter { !needed.contains($0) }
        var out: [Finding] = []
        if !needed.isEmpty {
            out.append(
                finding(
                    "programs", .warning, "programs are missing that kubeadm and kubelet need",
                    needed.joined(separator: ", "), "install conntrack, iproute2, iptables, util-linux"))
        }
        if !wanted.isEmpty {
            out.append(
                finding(
                    "programs", .info, "programs are missing that help", wanted.joined(separator: ", "),
                    "install ethtool, socat and cri-tools"))
        }
        return out
    }

    private static func hostName(_ facts: HostFacts) -> [Finding] {
        let name = facts.hostName
        guard !name.isEmpty else { return [] }
        let legal = name.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
        }
        guard !legal || name.hasPrefix("-") || name.hasSuffix("-") else { return [] }
        return [
            finding(
                "host-name", .warning, "the host name cannot be a node's name", name,
                "lower-case letters, digits, - and . only: hostnamectl set-hostname NAME, before kubeadm runs")
        ]
    }

    private static func resolver(_ facts: HostFacts) -> [Finding] {
        if facts.nameServers.count > 3 {
            return [
                finding(
                    "resolver", .warning, "more than three name servers",
                    facts.nameServers.joined(separator: ", "),
                    "pods take the first three only: shorten /etc/resolv.conf or name another file in kubelet's resolvConf"
                )
            ]
        }
        guard !facts.nameServers.isEmpty, facts.nameServers.allSatisfy({ $0.hasPrefix("127.") || $0 == "::1" }),
            facts.role != .none,
            facts.kubelet["resolvConf"]?.contains("systemd/resolve") != true
        else { return [] }
        return [
            finding(
                "resolver", .warning, "pods would get a name server of the machine's own loopback",
                facts.nameServers.joined(separator: ", "),
                "set resolvConf: /run/systemd/resolve/resolv.conf in kubelet's configuration: CoreDNS loops otherwise")
        ]
    }

    private static func overlap(_ facts: HostFacts) -> [Finding] {
        var named: [(String, IPv4Network)] = []
        func take(_ name: String, _ text: String?) {
            for part in (text ?? "").split(separator: ",") {
                if let network = IPv4Network(part) { named.append((name, network)) }
            }
        }
        take("pods (--cluster-cidr)", facts.manifests["kube-controller-manager"]?["cluster-cidr"])
        take("services (--service-cluster-ip-range)", facts.manifests["kube-apiserver"]?["service-cluster-ip-range"])
        var out: [Finding] = []
        for (index, first) in named.enumerated() {
            for second in named[(index + 1)...] where first.1.overlaps(second.1) {
                out.append(
                    finding(
                        "cidr-overlap", .critical, "the networks of \(first.0) and \(second.0) overlap",
                        "\(first.1), \(second.1)",
                        "they must be apart: plan new ones; a cluster cannot change them easily"))
            }
            // A network inside the pods' own is a route to some node's pods.
            for network in facts.networks {
                guard let own = IPv4Network(network.cidr), own.overlaps(first.1), own.bits <= first.1.bits else {
                    continue
                }
                out.append(
                    finding(
                        "cidr-overlap", .critical, "the network of \(first.0) overlaps the machine's own",
                        "\(first.1) and \(network.cidr) on \(network.interface)",
                        "addresses there cannot be reached from pods: choose networks that nothing else uses"))
            }
        }
        return out
    }

    private static func strayManifests(_ facts: HostFacts) -> [Finding] {
        let copies = facts.strayManifests.filter { path in
            [".bak", ".old", ".orig", ".save", "~", ".rpmsave", ".dpkg-old", ".swp", ".tmp"].contains {
                path.hasSuffix($0)
            }
        }
        guard !copies.isEmpty else { return [] }
        return [
            finding(
                "stray-manifests", .critical, "copies of manifests lie where kubelet runs every file",
                copies.joined(separator: ", "), "move them elsewhere: kubelet starts a second, older pod from them")
        ]
    }

    private static func leftovers(_ facts: HostFacts) -> [Finding] {
        guard facts.kubeadmLeftoverBytes > 1 << 30 else { return [] }
        return [
            finding(
                "leftovers", .info, "kubeadm's copies take room",
                "/etc/kubernetes/tmp holds \(gib(facts.kubeadmLeftoverBytes))",
                "remove old kubeadm-backup-* there: they are copies of a live etcd and no backup")
        ]
    }

    private static func certificates(_ facts: HostFacts) -> [Finding] {
        facts.certificateDays.sorted { ($0.value, $0.key) < ($1.value, $1.key) }.compactMap { path, days in
            guard days < 28 else { return nil }
            return finding(
                "certificate", days < 14 ? .critical : .warning,
                days < 0 ? "a certificate has expired" : "a certificate expires in \(days) days", path,
                path.contains("kubelet-client") || path.hasSuffix("kubelet.crt")
                    ? "kubelet renews it by itself where rotateCertificates is on; see journalctl -u kubelet"
                    : "kubeadm certs renew all, then restart the static pods; kops-sidecar does both")
        }
    }
}
