import Glibc
import Platform

@testable import ClusterOps

/// A control plane node made of stand-ins, in a directory of its own: kubeadm's files made by openssl, a kubelet that runs
/// manifests as processes (a real etcd, and small TLS servers for the rest), a kubeadm that renews with openssl.
final class StandInNode: Sendable {
    let directory: String
    private let kubelet: pid_t
    let layout: KubeadmLayout

    static let components = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"]
    static let isThere =
        EtcdProcess.isThere && FileSystem.exists("/usr/bin/openssl") && FileSystem.exists("/usr/bin/python3")

    private static var scripts: String { FileSystem.parent(of: #filePath) }

    /// With certificates that end in so many days.
    init(days: Int) throws {
        directory = try temporaryDirectory()
        let ports = try (0..<6).map { _ in String(try freePort()) }
        let made = try runProgram([Self.scripts + "/stand-in-pki.sh", directory, String(days)] + ports)
        guard made.status == 0 else { throw RenewalError("stand-in-pki.sh: \(made.output)") }
        kubelet = try spawn(
            ["/usr/bin/python3", Self.scripts + "/stand-in-kubelet.py", directory], log: directory + "/kubelet.log")
        layout = KubeadmLayout(
            kubernetesDirectory: directory + "/kubernetes", kubeletDirectory: directory + "/kubelet")
    }

    deinit {
        kill(kubelet, SIGKILL)
        var status: Int32 = 0
        waitpid(kubelet, &status, 0)
        try? FileSystem.removeTree(directory)
    }

    var options: RenewalOptions {
        var options = RenewalOptions()
        options.layout = layout
        options.kubeadm = directory + "/kubeadm"
        return options
    }

    /// A renewal that gives the named component little time, and all others enough.
    func renewal(_ options: RenewalOptions, impatientWith component: String? = nil) throws -> CertificateRenewal {
        let script = "#!/bin/sh\nNODE=\(directory) exec \(Self.scripts)/stand-in-kubeadm.sh \"$@\"\n"
        try AtomicFile.write(Array(script.utf8), to: directory + "/kubeadm", mode: 0o755)
        var renewal = CertificateRenewal(options)
        let isGoingBack = Lock(false)
        let limit: @Sendable (String) -> Duration = { which in
            which == component && !isGoingBack.withLock { $0 } ? .milliseconds(1500) : .seconds(60)
        }
        renewal.limits.stop = limit
        renewal.limits.start = limit
        renewal.limits.poll = .milliseconds(50)
        renewal.limits.isOurs = { [directory] words in words.contains { $0.contains(directory) } }
        renewal.announce = { [self] step in
            guard step == .putBack else { return }
            isGoingBack.withLock { $0 = true }
            // What hurt the new state does not hurt the old one.
            for name in ["no-start-etcd", "not-ready-kube-scheduler", "no-stop-kube-controller-manager"] {
                control(name, false)
            }
        }
        return renewal
    }

    func control(_ name: String, _ isOn: Bool) {
        let path = directory + "/control/" + name
        if isOn { try? AtomicFile.write([], to: path) } else { try? FileSystem.removeFile(path) }
    }

    /// How often each component was started.
    func starts() -> [String: Int] {
        let text = (try? FileSystem.readText(directory + "/starts")) ?? ""
        return Dictionary(text.split(separator: "\n").map { (String($0), 1) }, uniquingKeysWith: +)
    }

    /// The order in which components were started.
    func startOrder() -> [String] {
        ((try? FileSystem.readText(directory + "/starts")) ?? "").split(separator: "\n").map(String.init)
    }

    func serials() -> [String: String] {
        Dictionary(
            KubeadmCertificate.all.compactMap { which in
                (try? layout.certificate(which)).map { (which.name, $0.serial) }
            }, uniquingKeysWith: { a, _ in a })
    }

    /// Throws unless every component is ready and shows what its files hold.
    func proveAll() async throws {
        let control = try StaticPodControl(
            layout: layout, heldDirectory: directory + "/none", limits: renewal(options).limits)
        for component in Self.components { try await control.prove(component) }
    }
}
