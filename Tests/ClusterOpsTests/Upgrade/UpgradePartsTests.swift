import FoundationEssentials
import Platform
import Testing

@testable import ClusterOps

@Suite struct KubernetesVersionTests {
    @Test(arguments: [
        ("v1.31.4", "v1.31.4"), ("1.20.2", "v1.20.2"), ("v1.32.0-rc.1", "v1.32.0-rc.1"), ("v1.30.1+k3s1", "v1.30.1"),
    ]) func whatIsOne(_ text: String, _ canonical: String) {
        #expect(KubernetesVersion(text)?.description == canonical)
    }

    @Test(arguments: ["", "v", "1.20", "v1.20.x", "v1.20.3-", "latest", "v1.2.3.4", "v-1.2.3", "v1.+2.3"])
    func whatIsNone(_ text: String) { #expect(KubernetesVersion(text) == nil) }

    @Test func theirOrder() throws {
        let order = ["v1.9.10", "v1.20.2", "v1.20.10", "v1.31.0-alpha.1", "v1.31.0-rc.1", "v1.31.0", "v2.0.0"]
        let versions = try order.map { try #require(KubernetesVersion($0)) }
        #expect(versions.shuffled().sorted() == versions)
    }
}

@Suite struct SkewRulesTests {
    private func violations(_ target: String, servers: [String: String], kubelets: [String: String]) -> [String] {
        SkewRules.violations(
            target: KubernetesVersion(target) ?? KubernetesVersion(0, 0, 0),
            apiservers: servers.compactMapValues { KubernetesVersion($0) },
            kubelets: kubelets.compactMapValues { KubernetesVersion($0) })
    }

    @Test func whatIsAllowed() {
        #expect(violations("v1.31.4", servers: ["cp1": "v1.30.9"], kubelets: ["w1": "v1.28.0", "w2": "v1.31.4"]) == [])
        #expect(
            violations("v1.20.3", servers: ["cp1": "v1.20.2", "cp2": "v1.20.3"], kubelets: ["w1": "v1.18.20"]) == [])
        #expect(violations("v1.25.0", servers: ["cp1": "v1.24.1"], kubelets: ["w1": "v1.23.0"]) == [])
    }

    @Test(arguments: [
        ("v1.32.0", "v1.30.1", "v1.30.1", "skips a minor version; go to v1.31 first"),
        ("v1.30.0", "v1.31.1", "v1.30.0", "knows no way back"),
        ("v1.30.1", "v1.30.4", "v1.30.0", "knows no way back"),
        ("v1.31.0", "v1.30.0", "v1.27.3", "more than 3 minor versions behind"),
        ("v1.24.0", "v1.23.0", "v1.21.0", "more than 2 minor versions behind"),
        ("v1.30.1", "v1.30.1", "v1.31.0", "must never be newer"),
        ("v2.0.0", "v1.31.0", "v1.31.0", "another major version"),
    ]) func whatIsNot(_ target: String, _ server: String, _ kubelet: String, _ text: String) {
        let found = violations(target, servers: ["cp1": server], kubelets: ["w1": kubelet])
        #expect(found.contains { $0.contains(text) }, "\(found)")
    }
}

@Suite struct NodePackagesTests {
    private func packages(_ manager: UpgradeOptions.PackageManager) -> NodePackages {
        NodePackages(manager: manager, options: .init(), timeout: 1000)
    }

    @Test func aptsListIsRead() {
        let output = """
               kubeadm | 1.31.40-1.1 | https://pkgs.k8s.io/core:/stable:/v1.31/deb  Packages
               kubeadm | 1.31.4-1.1 | https://pkgs.k8s.io/core:/stable:/v1.31/deb  Packages
               kubeadm | 1.31.3-1.1 | https://pkgs.k8s.io/core:/stable:/v1.31/deb  Packages
            """
        let result = CommandResult(status: 0, output: output)
        #expect(packages(.apt).found(result, "kubeadm", KubernetesVersion(1, 31, 4)) == "1.31.4-1.1")
        #expect(packages(.apt).found(result, "kubeadm", KubernetesVersion(1, 31, 5)) == nil)
        #expect(packages(.apt).found(result, "kubelet", KubernetesVersion(1, 31, 4)) == nil)
        #expect(packages(.apt).found(CommandResult(status: 0), "kubeadm", KubernetesVersion(1, 31, 4)) == nil)
    }

    @Test func dnfsListIsRead() {
        let output = """
            Installed Packages
            kubeadm.x86_64    1.31.3-150500.1.1    @kubernetes
            Available Packages
            kubeadm.x86_64    1.31.4-150500.1.1    kubernetes
            kubeadm.x86_64    1.31.4-150500.2.1    kubernetes
            """
        let result = CommandResult(status: 0, output: output)
        #expect(packages(.dnf).found(result, "kubeadm", KubernetesVersion(1, 31, 4)) == "1.31.4-150500.2.1")
    }

    @Test func theNodesManagerIsFound() {
        #expect(NodePackages.manager(detected: "/usr/bin/apt-get\n") == .apt)
        #expect(NodePackages.manager(detected: "/usr/bin/dnf\n") == .dnf)
        #expect(NodePackages.manager(detected: "") == nil)
    }
}

/// Texts as kubeadm of 1.20 and of 1.36 print them.
@Suite struct KubeadmOutputTests {
    private static let old = """
        [upgrade/versions] Latest version in the v1.20 series: v1.20.3

        Components that must be upgraded manually after you have upgraded the control plane with 'kubeadm upgrade apply':
        COMPONENT   CURRENT       AVAILABLE
        kubelet     2 x v1.20.2   v1.20.3

        Upgrade to the latest version in the v1.20 series:

        COMPONENT                 CURRENT    AVAILABLE
        kube-apiserver            v1.20.2    v1.20.3
        CoreDNS                   1.7.0      1.7.0

        You can now apply the upgrade by executing the following command:
        API GROUP                 CURRENT VERSION   PREFERRED VERSION   MANUAL UPGRADE REQUIRED
        kubelet.config.k8s.io     v1beta1           v1beta1             no
        """

    @Test func theTableOf120() {
        #expect(
            KubeadmOutput.planText(Self.old) == [
                KubeadmOutput.Offer(
                    description: "version in the v1.20 series",
                    components: [
                        .init(name: "kubelet", current: "2 x v1.20.2", new: "v1.20.3", node: ""),
                        .init(name: "kube-apiserver", current: "v1.20.2", new: "v1.20.3", node: ""),
                        .init(name: "CoreDNS", current: "1.7.0", new: "1.7.0", node: ""),
                    ])
            ])
    }

    @Test func theTableOf136NamesNodes() {
        let text = """
            Components that must be upgraded manually after you have upgraded the control plane:
            COMPONENT   NODE      CURRENT   TARGET
            kubelet     cp1       v1.36.2   v1.36.3

            Upgrade to the latest version in the v1.36 series:

            COMPONENT                 NODE      CURRENT   TARGET
            kube-apiserver            cp1       v1.36.2   v1.36.3
            kube-proxy                          1.36.2    v1.36.3
            """
        let components = KubeadmOutput.planText(text).flatMap(\.components)
        #expect(components.map(\.node) == ["cp1", "cp1", ""])
        #expect(components.map(\.new) == ["v1.36.3", "v1.36.3", "v1.36.3"])
    }

    @Test func warningsAroundTheJSONAreNoMatter() {
        let json = """
            W1123 22:48:37.906140 2847 version.go:108] could not fetch a version {from} the internet
            [upgrade] Running cluster health checks
            {
                "kind": "UpgradePlan",
                "availableUpgrades": [ { "description": "d", "components": [
                    { "name": "kubelet", "currentVersion": "v1.36.2", "newVersion": "v1.36.3", "nodeName": "cp1" } ] } ]
            }
            [upgrade] done
            """
        #expect(
            KubeadmOutput.planJSON(json) == [
                .init(
                    description: "d",
                    components: [.init(name: "kubelet", current: "v1.36.2", new: "v1.36.3", node: "cp1")])
            ])
        #expect(KubeadmOutput.planJSON("") == [])
        #expect(KubeadmOutput.planJSON("no upgrade\n") == nil)
        #expect(KubeadmOutput.planJSON("{\n broken\n}") == nil)
    }

    @Test func versionsAndComplaints() {
        #expect(KubeadmOutput.version("v1.20.3\n") == KubernetesVersion(1, 20, 3))
        #expect(KubeadmOutput.version("Kubernetes v1.31.0-rc.1\n") == KubernetesVersion(1, 31, 0, preRelease: "rc.1"))
        #expect(KubeadmOutput.version("") == nil)
        #expect(
            KubeadmOutput.complaints("x\n\t[ERROR CreateJob]: no\n- Specified version is too high\nerror: e\n")
                == ["[ERROR CreateJob]: no", "- Specified version is too high", "error: e"])
    }

    @Test func imagesTellTheirVersion() {
        #expect(imageVersion("registry.k8s.io/kube-apiserver:v1.31.4") == KubernetesVersion(1, 31, 4))
        #expect(imageVersion("host:5000/kube-apiserver:v1.31.4_vendor.1@sha256:abc") == KubernetesVersion(1, 31, 4))
        #expect(imageVersion("registry.k8s.io/kube-apiserver@sha256:abc") == nil)
        #expect(imageVersion("host:5000/etcd") == nil)
    }

    @Test func deprecatedAPIsAreReadFromMetrics() {
        let text = """
            # TYPE apiserver_requested_deprecated_apis gauge
            apiserver_requested_deprecated_apis{group="policy",removed_release="1.25",resource="poddisruptionbudgets",subresource="",version="v1beta1"} 1
            apiserver_requested_deprecated_apis{group="batch",removed_release="1.25",resource="cronjobs",subresource="",version="v1beta1"} 0
            apiserver_requested_deprecated_apis{group="",removed_release="",resource="componentstatuses",subresource="",version="v1"} 1
            """
        let found = DeprecatedAPI.inMetrics(Array(text.utf8))
        #expect(found.map(\.id) == ["policy/v1beta1 poddisruptionbudgets", "v1 componentstatuses"])
        #expect(found[0].isGone(in: KubernetesVersion(1, 25, 0)) && !found[0].isGone(in: KubernetesVersion(1, 24, 9)))
        #expect(!found[1].isGone(in: KubernetesVersion(1, 36, 0)))
    }
}

@Suite struct UpgradeJournalTests {
    @Test func aRunComesBackAsItWasWritten() async throws {
        let fleet = SimulatedFleet(), memory = MemoryJournal(fleet)
        try await fleet.begin(memory)
        let run = try await fleet.go(memory)
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let journal = FileUpgradeJournal(directory: directory)
        #expect(try journal.load() == nil)
        try journal.save(run)
        #expect(try journal.load() == run)
        try journal.archive()
        #expect(try journal.load() == nil)
        #expect(FileSystem.glob(directory + "/upgrade-*.json").count == 1)
    }

    @Test func oneProcessAtATimeAndRequestsAreTakenOnce() async throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let journal = FileUpgradeJournal(directory: directory)
        do {
            let lock = try journal.lock()
            #expect(journal.isLocked)
            #expect(throws: UpgradeError.self) { try journal.lock() }
            let passedOn = try await journal.pass(.pause, patience: 20)
            #expect(passedOn == nil)
            withExtendedLifetime(lock) {}
        }
        #expect(journal.takeRequest() == .pause)
        #expect(journal.takeRequest() == nil)
        // Nobody is at it: the caller has to do what it asked for.
        let own = try await journal.pass(.abort)
        #expect(own != nil)
        #expect(journal.takeRequest() == nil)
    }

    @Test func aJournalOfAnotherFormatIsRefused() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let journal = FileUpgradeJournal(directory: directory)
        try AtomicFile.write(Array(#"{"formatVersion": 99}"#.utf8), to: directory + "/upgrade.json")
        #expect(throws: UpgradeError.self) { try journal.load() }
    }
}

@Suite struct NaturalOrderTests {
    @Test func numbersInNamesCountAsNumbers() {
        let names = ["cp1", "cp2", "w1", "w2", "w10", "w10a", "w11"]
        #expect(names.shuffled().sorted(by: naturallyPrecedes) == names)
        #expect(!naturallyPrecedes("w1", "w1"))
    }
}
