import Glibc
package import Platform

/// Gathers `HostFacts` from files of the machine. Reads only. Calls block.
package struct HostFactsReader: Sendable {
    /// Put before every path; a test puts a tree of its own there.
    package var root = ""
    package var clock = WallClock.system

    package init() {}

    private static let sysctlNames = [
        "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.ipv4.ip_forward",
        "vm.overcommit_memory", "vm.panic_on_oom", "kernel.panic", "kernel.panic_on_oops",
        "fs.inotify.max_user_instances", "fs.inotify.max_user_watches", "kernel.pid_max", "fs.file-max",
        "net.netfilter.nf_conntrack_max", "vm.max_map_count",
    ]
    private static let sockets = [
        "/run/containerd/containerd.sock", "/var/run/crio/crio.sock", "/run/crio/crio.sock",
        "/run/cri-dockerd.sock", "/var/run/dockershim.sock",
    ]
    private static let programs = [
        "conntrack", "ip", "iptables", "mount", "nsenter", "ethtool", "socat", "tc", "crictl",
    ]
    private static let ownManifests: Set<String> = [
        "kube-apiserver.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml", "etcd.yaml",
    ]

    package func read() -> HostFacts {
        var facts = HostFacts()
        facts.isRoot = geteuid() == 0
        readSystem(&facts)
        readKernel(&facts)
        readNetwork(&facts)
        readKubernetes(&facts)
        if !facts.isRoot {
            facts.notes.append("not run as root: keys, kubelet's directories and owners of ports may not be seen")
        }
        return facts
    }

    private func text(_ path: String, limit: Int = 4 << 20) -> String? {
        try? FileSystem.readText(root + path, maxBytes: limit)
    }

    private func lines(_ path: String) -> [Substring] { (text(path) ?? "").split(separator: "\n") }

    private func readSystem(_ facts: inout HostFacts) {
        facts.hostName = word(text("/proc/sys/kernel/hostname"))
        facts.kernel = word(text("/proc/sys/kernel/osrelease"))
        for line in lines("/etc/os-release") where line.hasPrefix("PRETTY_NAME=") {
            facts.osName = line.dropFirst(12).filter { $0 != "\"" }
        }
        facts.processors = lines("/proc/cpuinfo").count { $0.hasPrefix("processor") }
        for line in lines("/proc/meminfo") where line.hasPrefix("MemTotal:") {
            facts.memoryBytes = (Int64(line.filter(\.isNumber)) ?? 0) * 1024
        }
        facts.isContainer =
            FileSystem.exists(root + "/.dockerenv") || FileSystem.exists(root + "/run/.containerenv")
            || FileSystem.exists(root + "/run/systemd/container")
        facts.swaps = lines("/proc/swaps").dropFirst().compactMap { $0.split(whereSeparator: \.isWhitespace).first }
            .map(String.init)
        facts.nameServers = lines("/etc/resolv.conf").compactMap { line in
            let words = line.split(whereSeparator: \.isWhitespace)
            return words.count > 1 && words[0] == "nameserver" ? String(words[1]) : nil
        }
        for path in ["/", "/var/lib/etcd", "/var/lib/kubelet", "/var/lib/containerd", "/etc/kubernetes", "/var/log"] {
            guard FileSystem.exists(root + path), let free = try? FileSystem.freeBytes(root + path) else { continue }
            var info = statvfs()
            guard statvfs(root + path, &info) == 0 else { continue }
            facts.disks.append(
                HostFacts.Disk(path: path, freeBytes: free, totalBytes: Int64(info.f_blocks) * Int64(info.f_frsize)))
        }
        readClock(&facts)
        let directories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        facts.missingPrograms = Self.programs.filter { name in
            !directories.contains { FileSystem.exists("\(root)\($0)/\(name)") }
        }
    }

    private func readClock(_ facts: inout HostFacts) {
        // A tree made for a test has no clock.
        guard root.isEmpty else { return }
        guard let state = clockSynchronisation() else { return }
        facts.clock = state.isKept ? .synchronised : .unsynchronised
        if state.isKept { facts.clockErrorMilliseconds = state.errorMilliseconds }
    }

    private func readKernel(_ facts: inout HostFacts) {
        for line in lines("/proc/modules") {
            if let name = line.split(separator: " ").first { facts.modules.insert(String(name)) }
        }
        for line in lines("/lib/modules/\(facts.kernel)/modules.builtin") {
            let name = FileSystem.name(of: String(line)).prefix { $0 != "." }
            facts.modules.insert(String(name.map { $0 == "-" ? "_" : $0 }))
        }
        // Built in without a list of what is: seen by what they make.
        for line in lines("/proc/filesystems") where line.hasSuffix("overlay") { facts.modules.insert("overlay") }
        if FileSystem.exists(root + "/proc/sys/net/bridge") { facts.modules.insert("br_netfilter") }
        for name in Self.sysctlNames {
            let path = "/proc/sys/" + name.replacing(".", with: "/")
            if let value = text(path) { facts.sysctls[name] = word(value) }
        }
        let unified = FileSystem.exists(root + "/sys/fs/cgroup/cgroup.controllers")
        if unified {
            facts.cgroup = .v2
        } else if FileSystem.exists(root + "/sys/fs/cgroup/memory") {
            facts.cgroup = FileSystem.exists(root + "/sys/fs/cgroup/unified/cgroup.controllers") ? .hybrid : .v1
        }
        facts.runtimeSockets = Self.sockets.filter { FileSystem.exists(root + $0) }
        if let config = text("/etc/containerd/config.toml") {
            for line in config.split(separator: "\n") {
                let compact = line.filter { !$0.isWhitespace }
                if compact.hasPrefix("SystemdCgroup=") { facts.containerdSystemdCgroup = compact.hasSuffix("true") }
            }
        }
    }

    private func readKubernetes(_ facts: inout HostFacts) {
        let directory = "/etc/kubernetes/manifests"
        for name in (try? FileSystem.list(root + directory)) ?? [] where !name.hasPrefix(".") {
            if Self.ownManifests.contains(name) {
                facts.manifests[String(name.dropLast(5))] = StaticPod.flags("\(root)\(directory)/\(name)")
            } else {
                facts.strayManifests.append("\(directory)/\(name)")
            }
        }
        if let config = text("/var/lib/kubelet/config.yaml") { facts.kubelet = BlockYAML.paths(config) }
        facts.role =
            facts.manifests["kube-apiserver"] != nil
            ? .controlPlane
            : FileSystem.exists(root + "/etc/kubernetes/kubelet.conf") || !facts.kubelet.isEmpty ? .worker : .none
        let patterns = [
            "/etc/kubernetes/manifests/*", "/etc/kubernetes/*.conf", "/etc/kubernetes/pki/*.key",
            "/etc/kubernetes/pki/etcd/*.key", "/etc/kubernetes/pki/*.crt", "/etc/kubernetes/pki/etcd/*.crt",
            "/etc/kubernetes/pki", "/var/lib/etcd", "/var/lib/kubelet/config.yaml", "/var/lib/kubelet/pki/*.pem",
            "/var/lib/kubelet/pki/*.key",
        ]
        for path in patterns.flatMap({ FileSystem.glob(root + $0) }) {
            guard let status = try? FileSystem.status(path) else { continue }
            facts.files.append(
                HostFacts.File(
                    path: String(path.dropFirst(root.count)), mode: UInt32(status.mode) & 0o7777, owner: status.owner,
                    group: status.group, isDirectory: status.isDirectory))
        }
        facts.kubeadmLeftoverBytes = treeBytes(root + "/etc/kubernetes/tmp", depth: 8)
        let inventory = CertificateInventory(
            kubernetesDirectory: root + "/etc/kubernetes", kubeletDirectory: root + "/var/lib/kubelet")
        let (certificates, problems) = inventory.scan()
        let now = clock.nowMilliseconds()
        for watched in certificates {
            let path = String(watched.path.dropFirst(root.count))
            facts.certificateDays[path] = watched.daysLeft(at: now) - (watched.certificate.notAfter < now ? 1 : 0)
        }
        facts.notes += problems.prefix(20)
    }

    /// Bytes of the files in a directory and those below it.
    private func treeBytes(_ path: String, depth: Int) -> Int64 {
        guard depth > 0, let names = try? FileSystem.list(path) else { return 0 }
        var sum: Int64 = 0
        for name in names.prefix(10_000) {
            guard let status = try? FileSystem.status("\(path)/\(name)", followLinks: false) else { continue }
            sum += status.isDirectory ? treeBytes("\(path)/\(name)", depth: depth - 1) : status.size
        }
        return sum
    }

    private func readNetwork(_ facts: inout HostFacts) {
        for (index, file) in ["/proc/net/tcp", "/proc/net/tcp6"].enumerated() {
            for line in lines(file).dropFirst() {
                let words = line.split(separator: " ")
                // Local address and port in hexadecimal; state 0A is LISTEN.
                guard words.count > 9, words[3] == "0A", let colon = words[1].lastIndex(of: ":"),
                    let port = UInt16(words[1][words[1].index(after: colon)...], radix: 16)
                else { continue }
                if index == 1, facts.listeners.contains(where: { $0.port == port }) { continue }
                facts.listeners.append(HostFacts.Listener(port: port))
            }
        }
        for line in lines("/proc/net/route").dropFirst() {
            let words = line.split(whereSeparator: \.isWhitespace)
            guard words.count > 7, let destination = UInt32(words[1], radix: 16),
                let mask = UInt32(words[7], radix: 16),
                mask != 0, !Self.isContainerInterface(words[0])
            else { continue }
            // Both are in the machine's byte order, which is little-endian wherever this runs.
            let bits = mask.byteSwapped.leadingZeroBitCount == 0 ? (~mask.byteSwapped).leadingZeroBitCount : 0
            let network = IPv4Network(address: destination.byteSwapped, bits: bits)
            facts.networks.append(HostFacts.Network(interface: String(words[0]), cidr: network.description))
        }
    }

    /// Interfaces that carry the pods' own network: meeting its addresses there is no overlap.
    private static func isContainerInterface(_ name: Substring) -> Bool {
        [
            "cni", "flannel", "cali", "vxlan", "cilium", "lxc", "veth", "docker", "kube-", "weave", "tunl",
            "nodelocaldns",
        ]
        .contains { name.hasPrefix($0) }
    }

    private func word(_ text: String?) -> String {
        String((text ?? "").split(whereSeparator: \.isNewline).first ?? "")
    }
}

/// An IPv4 network such as `10.244.0.0/16`.
struct IPv4Network: Hashable, CustomStringConvertible {
    var address: UInt32
    /// [0...32]
    var bits: Int

    init(address: UInt32, bits: Int) {
        self.bits = bits
        self.address = address & Self.mask(bits)
    }

    /// Nil where the text is none.
    init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/")
        guard let first = parts.first, parts.count <= 2 else { return nil }
        let bytes = first.split(separator: ".", omittingEmptySubsequences: false).map { UInt8($0) }
        guard bytes.count == 4 else { return nil }
        var address: UInt32 = 0
        for byte in bytes {
            guard let byte else { return nil }
            address = address << 8 | UInt32(byte)
        }
        let bits = parts.count == 2 ? Int(parts[1]) ?? -1 : 32
        guard (0...32).contains(bits) else { return nil }
        self.init(address: address, bits: bits)
    }

    private static func mask(_ bits: Int) -> UInt32 { bits == 0 ? 0 : ~UInt32(0) << UInt32(32 - bits) }

    func overlaps(_ other: IPv4Network) -> Bool {
        let shared = Self.mask(min(bits, other.bits))
        return address & shared == other.address & shared
    }

    var description: String {
        "\(address >> 24).\(address >> 16 & 255).\(address >> 8 & 255).\(address & 255)/\(bits)"
    }
}
