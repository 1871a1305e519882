/// What a machine tells of itself: all that the host checks look at. Nil or empty where it could not be read.
package struct HostFacts: Sendable, Hashable, Codable {
    package enum Role: String, Sendable, Codable {
        case controlPlane = "control-plane"
        case worker
        /// Nothing of kubeadm is there.
        case none
    }

    package struct Disk: Sendable, Hashable, Codable {
        package var path: String
        package var freeBytes: Int64
        package var totalBytes: Int64
    }

    package struct File: Sendable, Hashable, Codable {
        package var path: String
        /// The permission bits.
        package var mode: UInt32
        package var owner: UInt32
        package var group: UInt32
        package var isDirectory = false
    }

    package struct Listener: Sendable, Hashable, Codable {
        package var port: UInt16
        /// The program that listens, where this user may know it.
        package var program: String?
    }

    package struct Network: Sendable, Hashable, Codable {
        package var interface: String
        /// `10.0.0.0/24`
        package var cidr: String
    }

    package enum CgroupVersion: String, Sendable, Codable {
        case v1, hybrid, v2, none
    }

    package enum ClockState: String, Sendable, Codable {
        case synchronised, unsynchronised, unknown
    }

    package var role = Role.none
    package var hostName = ""
    package var osName = ""
    package var kernel = ""
    package var processors = 0
    package var memoryBytes: Int64 = 0
    package var isRoot = false
    /// Running in a container: the kernel's settings are the outer machine's.
    package var isContainer = false
    package var cgroup = CgroupVersion.none
    /// Devices and files in use as swap.
    package var swaps: [String] = []
    /// Loaded, or part of the kernel.
    package var modules: Set<String> = []
    package var sysctls: [String: String] = [:]
    package var listeners: [Listener] = []
    package var clock = ClockState.unknown
    /// Milliseconds by which the kernel thinks the clock may be off; nil where it does not know.
    package var clockErrorMilliseconds: Int64?
    package var disks: [Disk] = []
    /// Sockets of container runtimes that are there.
    package var runtimeSockets: [String] = []
    /// `SystemdCgroup` of containerd's configuration; nil where it says nothing.
    package var containerdSystemdCgroup: Bool?
    /// Programs that kubeadm asks for, and are not on the search path.
    package var missingPrograms: [String] = []
    /// Addresses and routes of the machine's own interfaces, those of container networks left out.
    package var networks: [Network] = []
    /// Name servers in resolv.conf.
    package var nameServers: [String] = []
    /// Flags by static pod: `kube-apiserver` and so on.
    package var manifests: [String: [String: String]] = [:]
    /// Files in the manifests directory that kubelet would run and that are none of kubeadm's four.
    package var strayManifests: [String] = []
    /// kubelet's configuration, by path: `authentication.anonymous.enabled`.
    package var kubelet: [String: String] = [:]
    package var files: [File] = []
    /// Copies that kubeadm left in /etc/kubernetes/tmp: bytes in all.
    package var kubeadmLeftoverBytes: Int64 = 0
    /// Days left by certificate file; negative once expired.
    package var certificateDays: [String: Int64] = [:]
    /// What could not be read, and why.
    package var notes: [String] = []

    package init() {}

    var runsControlPlane: Bool { role == .controlPlane }
}
