import Platform
import Testing

@testable import ClusterOps

/// A control plane as kubeadm leaves it on a machine that has all it asks for.
private func goodNode() -> HostFacts {
    var facts = HostFacts()
    facts.role = .controlPlane
    facts.hostName = "cp1"
    facts.kernel = "6.1.0-18-amd64"
    facts.processors = 4
    facts.memoryBytes = 8 << 30
    facts.isRoot = true
    facts.cgroup = .v2
    facts.modules = ["overlay", "br_netfilter"]
    facts.sysctls = [
        "net.ipv4.ip_forward": "1", "net.bridge.bridge-nf-call-iptables": "1", "fs.inotify.max_user_instances": "8192",
    ]
    facts.listeners = [6443, 2379, 2380, 10250].map { HostFacts.Listener(port: $0) }
    facts.clock = .synchronised
    facts.clockErrorMilliseconds = 2
    facts.disks = [HostFacts.Disk(path: "/", freeBytes: 80 << 30, totalBytes: 100 << 30)]
    facts.runtimeSockets = ["/run/containerd/containerd.sock"]
    facts.containerdSystemdCgroup = true
    facts.networks = [HostFacts.Network(interface: "eth0", cidr: "10.0.0.0/24")]
    facts.nameServers = ["10.0.0.2"]
    facts.manifests = [
        "kube-apiserver": [
            "authorization-mode": "Node,RBAC", "enable-admission-plugins": "NodeRestriction", "secure-port": "6443",
            "service-cluster-ip-range": "10.96.0.0/12", "audit-log-path": "/var/log/audit.log",
            "audit-log-maxage": "30", "audit-log-maxbackup": "10", "audit-log-maxsize": "100",
            "encryption-provider-config": "/etc/kubernetes/enc.yaml", "profiling": "false",
            "anonymous-auth": "false", "kubelet-certificate-authority": "/etc/kubernetes/pki/ca.crt",
        ],
        "kube-controller-manager": [
            "cluster-cidr": "10.244.0.0/16", "use-service-account-credentials": "true", "bind-address": "127.0.0.1",
        ],
        "kube-scheduler": ["bind-address": "127.0.0.1"],
        "etcd": [
            "client-cert-auth": "true", "peer-client-cert-auth": "true",
            "listen-client-urls": "https://127.0.0.1:2379,https://10.0.0.11:2379",
        ],
    ]
    facts.kubelet = [
        "authentication.anonymous.enabled": "false", "authorization.mode": "Webhook", "cgroupDriver": "systemd",
        "rotateCertificates": "true", "protectKernelDefaults": "true",
    ]
    facts.sysctls["vm.overcommit_memory"] = "1"
    facts.sysctls["kernel.panic"] = "10"
    facts.sysctls["kernel.panic_on_oops"] = "1"
    facts.files = [
        HostFacts.File(path: "/etc/kubernetes/admin.conf", mode: 0o600, owner: 0, group: 0),
        HostFacts.File(path: "/etc/kubernetes/pki/ca.key", mode: 0o600, owner: 0, group: 0),
        HostFacts.File(path: "/etc/kubernetes/pki/ca.crt", mode: 0o644, owner: 0, group: 0),
        HostFacts.File(path: "/var/lib/etcd", mode: 0o700, owner: 0, group: 0, isDirectory: true),
    ]
    facts.certificateDays = ["/etc/kubernetes/pki/apiserver.crt": 300]
    return facts
}

@Suite struct HostChecksTests {
    @Test func aGoodNodeHasNoFinding() {
        #expect(Doctor.examine(goodNode()).findings == [])
    }

    typealias Fault = (name: String, severity: Finding.Severity, spoil: @Sendable (inout HostFacts) -> Void)

    static let faults: [Fault] = [
        ("swap", .critical, { $0.swaps = ["/dev/sda2"] }),
        ("cgroup", .warning, { $0.cgroup = .v1 }),
        ("cgroup", .critical, { $0.cgroup = .none }),
        ("cgroup-driver", .critical, { $0.containerdSystemdCgroup = false }),
        ("kernel", .critical, { $0.kernel = "2.6.32-754.el6" }),
        ("kernel", .warning, { $0.kernel = "4.15.0-213-generic" }),
        ("processors", .warning, { $0.processors = 1 }),
        ("memory", .warning, { $0.memoryBytes = 1 << 30 }),
        ("module-br_netfilter", .warning, { $0.modules.remove("br_netfilter") }),
        ("module-overlay", .critical, { $0.modules.remove("overlay") }),
        ("sysctl-net.ipv4.ip_forward", .critical, { $0.sysctls["net.ipv4.ip_forward"] = "0" }),
        ("sysctl-kernel.panic", .critical, { $0.sysctls["kernel.panic"] = "0" }),
        ("port-10250", .critical, { $0.listeners.removeAll { $0.port == 10250 } }),
        ("port-2379", .critical, { $0.listeners.removeAll { $0.port == 2379 } }),
        ("clock", .warning, { $0.clock = .unsynchronised }),
        ("clock", .warning, { $0.clockErrorMilliseconds = 900 }),
        ("disk", .critical, { $0.disks[0].freeBytes = 1 << 28 }),
        ("disk", .warning, { $0.disks[0].freeBytes = 12 << 30 }),
        ("runtime", .critical, { $0.runtimeSockets = [] }),
        ("programs", .warning, { $0.missingPrograms = ["conntrack"] }),
        ("host-name", .warning, { $0.hostName = "CP_1" }),
        ("resolver", .warning, { $0.nameServers = ["127.0.0.53"] }),
        ("resolver", .warning, { $0.nameServers = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"] }),
        ("cidr-overlap", .critical, { $0.networks[0].cidr = "10.244.0.0/16" }),
        ("cidr-overlap", .critical, { $0.manifests["kube-controller-manager"]?["cluster-cidr"] = "10.100.0.0/16" }),
        ("stray-manifests", .critical, { $0.strayManifests = ["/etc/kubernetes/manifests/etcd.yaml.bak"] }),
        ("leftovers", .info, { $0.kubeadmLeftoverBytes = 3 << 30 }),
        ("certificate", .critical, { $0.certificateDays["/etc/kubernetes/pki/apiserver.crt"] = -1 }),
        ("certificate", .warning, { $0.certificateDays["/etc/kubernetes/pki/apiserver.crt"] = 20 }),
        ("authorization-mode", .critical, { $0.manifests["kube-apiserver"]?["authorization-mode"] = nil }),
        ("token-auth-file", .critical, { $0.manifests["kube-apiserver"]?["token-auth-file"] = "/t" }),
        ("insecure-port", .critical, { $0.manifests["kube-apiserver"]?["insecure-port"] = "8080" }),
        ("node-restriction", .warning, { $0.manifests["kube-apiserver"]?["enable-admission-plugins"] = nil }),
        ("audit-log", .warning, { $0.manifests["kube-apiserver"]?["audit-log-path"] = nil }),
        ("audit-log", .warning, { $0.manifests["kube-apiserver"]?["audit-log-maxsize"] = nil }),
        ("encryption-at-rest", .warning, { $0.manifests["kube-apiserver"]?["encryption-provider-config"] = nil }),
        ("anonymous-auth", .info, { $0.manifests["kube-apiserver"]?["anonymous-auth"] = nil }),
        ("etcd-client-cert-auth", .critical, { $0.manifests["etcd"]?["client-cert-auth"] = nil }),
        ("etcd-plain", .critical, { $0.manifests["etcd"]?["listen-client-urls"] = "http://0.0.0.0:2379" }),
        ("kubelet-anonymous", .critical, { $0.kubelet["authentication.anonymous.enabled"] = "true" }),
        ("kubelet-authorization", .critical, { $0.kubelet["authorization.mode"] = "AlwaysAllow" }),
        ("kubelet-read-only-port", .warning, { $0.kubelet["readOnlyPort"] = "10255" }),
        ("kubelet-rotation", .warning, { $0.kubelet["rotateCertificates"] = "false" }),
        ("file-mode", .critical, { $0.files[1].mode = 0o644 }),
        ("file-mode", .warning, { $0.files[0].mode = 0o640 }),
        ("file-mode", .critical, { $0.files[2].mode = 0o666 }),
        ("file-mode", .warning, { $0.files[3].mode = 0o755 }),
        ("file-mode", .warning, { $0.files[2].owner = 1000 }),
    ]

    @Test(arguments: faults.indices) func eachFaultIsFoundAlone(_ index: Int) {
        let fault = Self.faults[index]
        var facts = goodNode()
        fault.spoil(&facts)
        let found = Doctor.examine(facts).findings
        #expect(found.map(\.id) == [fault.name])
        #expect(found.map(\.severity) == [fault.severity])
        for finding in found { #expect(!finding.evidence.isEmpty && !finding.fix.isEmpty) }
    }

    @Test func theWorstComesFirst() {
        var facts = goodNode()
        facts.cgroup = .v1
        facts.swaps = ["/swap"]
        facts.kubeadmLeftoverBytes = 3 << 30
        #expect(Doctor.examine(facts).findings.map(\.severity) == [.critical, .warning, .info])
    }

    @Test func aMachineThatIsNoNodeIsJudgedAsOneToBe() {
        var facts = HostFacts()
        facts.hostName = "fresh"
        facts.kernel = "6.1.0"
        facts.processors = 2
        facts.memoryBytes = 4 << 30
        facts.cgroup = .v2
        facts.modules = ["overlay", "br_netfilter"]
        facts.sysctls = ["net.ipv4.ip_forward": "0"]
        facts.listeners = [HostFacts.Listener(port: 6443)]
        facts.swaps = ["/dev/zram0"]
        let report = Doctor.examine(facts)
        #expect(report.notes.first?.contains("no kubeadm node") == true)
        #expect(
            Set(report.findings.map(\.id)) == ["port-6443", "swap", "sysctl-net.ipv4.ip_forward", "runtime"])
        #expect(report.worst == .warning)
    }

    @Test func aRouteToAPartOfThePodsNetworkIsNoOverlap() {
        var facts = goodNode()
        // With static routes between nodes, a node's own pods are a smaller network behind another node.
        facts.networks.append(HostFacts.Network(interface: "eth0", cidr: "10.244.1.0/24"))
        #expect(Doctor.examine(facts).findings == [])
    }
}

@Suite struct HostFactsReaderTests {
    @Test func aNodesFilesBecomeFacts() throws {
        let root = try temporaryDirectory()
        defer { try? FileSystem.removeTree(root) }
        func write(_ path: String, _ text: String, mode: UInt32 = 0o644) throws {
            try FileSystem.makeDirectories(root + FileSystem.parent(of: path))
            try AtomicFile.write(Array(text.utf8), to: root + path, mode: mode)
        }
        try write("/proc/sys/kernel/hostname", "cp1\n")
        try write("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
        try write("/proc/sys/net/ipv4/ip_forward", "1\n")
        try write("/proc/cpuinfo", "processor\t: 0\nmodel name\t: x\n\nprocessor\t: 1\n")
        try write("/proc/meminfo", "MemTotal:        4096000 kB\nMemFree:  1 kB\n")
        try write("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2  partition\t1\t0\t-2\n")
        try write("/proc/modules", "br_netfilter 32768 0 - Live 0x0\n")
        try write("/lib/modules/6.1.0-18-amd64/modules.builtin", "kernel/fs/overlayfs/overlay.ko\nkernel/a/x-y.ko\n")
        try write(
            "/proc/net/tcp",
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
                + "   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
                + "   1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 1 1\n")
        try write(
            "/proc/net/route",
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
                + "eth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
                + "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
                + "cni0\t0000F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n")
        try write("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
        try write("/etc/containerd/config.toml", "[a]\n  SystemdCgroup = true\n")
        try write("/etc/resolv.conf", "# x\nnameserver 10.0.0.2\nsearch a\n")
        try write(
            "/etc/kubernetes/manifests/kube-apiserver.yaml",
            "spec:\n  containers:\n  - command:\n    - kube-apiserver\n    - --secure-port=6443\n", mode: 0o600)
        try write("/etc/kubernetes/manifests/etcd.yaml.bak", "x")
        try write("/etc/kubernetes/manifests/.hidden", "x")
        try write("/etc/kubernetes/pki/ca.key", "secret", mode: 0o640)
        try write("/etc/kubernetes/tmp/kubeadm-backup-etcd-1/etcd/db", String(repeating: "x", count: 5000))
        try write(
            "/var/lib/kubelet/config.yaml",
            "authentication:\n  anonymous:\n    enabled: false\nclusterDNS:\n- 10.96.0.10\ncgroupDriver: systemd\n")
        var reader = HostFactsReader()
        reader.root = root
        let facts = reader.read()
        #expect(facts.role == .controlPlane)
        #expect(facts.hostName == "cp1")
        #expect(facts.processors == 2)
        #expect(facts.memoryBytes == 4_096_000 * 1024)
        #expect(facts.swaps == ["/dev/sda2"])
        #expect(facts.modules == ["br_netfilter", "overlay", "x_y"])
        #expect(facts.sysctls["net.ipv4.ip_forward"] == "1")
        #expect(facts.listeners == [HostFacts.Listener(port: 6443)])
        #expect(facts.networks == [HostFacts.Network(interface: "eth0", cidr: "10.0.0.0/24")])
        #expect(facts.cgroup == .v2)
        #expect(facts.containerdSystemdCgroup == true)
        #expect(facts.nameServers == ["10.0.0.2"])
        #expect(facts.manifests["kube-apiserver"] == ["secure-port": "6443"])
        #expect(facts.strayManifests == ["/etc/kubernetes/manifests/etcd.yaml.bak"])
        #expect(facts.files.first { $0.path == "/etc/kubernetes/pki/ca.key" }?.mode == 0o640)
        #expect(facts.kubeadmLeftoverBytes == 5000)
        #expect(
            facts.kubelet == [
                "authentication.anonymous.enabled": "false", "clusterDNS": "10.96.0.10", "cgroupDriver": "systemd",
            ])
    }

    @Test func thisMachineCanBeRead() {
        let facts = HostFactsReader().read()
        #expect(!facts.hostName.isEmpty && !facts.kernel.isEmpty)
        #expect(facts.processors > 0 && facts.memoryBytes > 1 << 20)
        #expect(!facts.disks.isEmpty)
        #expect(!Doctor.examine(facts).host.isEmpty)
    }
}

@Suite struct IPv4NetworkTests {
    @Test func overlapIsMutual() throws {
        let wide = try #require(IPv4Network("10.96.0.0/12")), narrow = try #require(IPv4Network("10.100.1.0/24"))
        let other = try #require(IPv4Network("10.112.0.0/16"))
        #expect(wide.overlaps(narrow) && narrow.overlaps(wide))
        #expect(!wide.overlaps(other) && !other.overlaps(wide))
        #expect(IPv4Network("10.1.2.3/8")?.description == "10.0.0.0/8")
    }

    @Test(arguments: ["", "10.0.0/8", "10.0.0.0/33", "10.0.0.256/8", "fd00::/64", "10.0.0.0/8/9", "10.0.0.0/x"])
    func whatIsNone(_ text: String) { #expect(IPv4Network(text) == nil) }
}
