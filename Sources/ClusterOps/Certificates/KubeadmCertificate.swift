import Platform

/// A certificate that `kubeadm certs renew NAME` renews.
package struct KubeadmCertificate: Sendable, Hashable {
    /// As kubeadm names it.
    package let name: String
    /// Below the PKI directory, without `.crt`; a kubeconfig's name below the Kubernetes directory.
    let file: String
    /// The authority's file below the PKI directory, without `.crt`.
    let authority: String
    package let isKubeconfig: Bool
    /// Whether every control plane node has it; others are looked after where they are.
    let isExpected: Bool

    private init(
        _ name: String, file: String? = nil, authority: String, kubeconfig: Bool = false, expected: Bool = true
    ) {
        self.name = name
        self.file = file ?? name
        self.authority = authority
        isKubeconfig = kubeconfig
        isExpected = expected
    }

    /// In the order in which they are renewed: the files that kubeadm itself reads its configuration with come last.
    package static let all: [KubeadmCertificate] = [
        KubeadmCertificate("apiserver", authority: "ca"),
        KubeadmCertificate("apiserver-kubelet-client", authority: "ca"),
        KubeadmCertificate("front-proxy-client", authority: "front-proxy-ca"),
        KubeadmCertificate("apiserver-etcd-client", authority: "etcd/ca", expected: false),
        KubeadmCertificate(
            "etcd-healthcheck-client", file: "etcd/healthcheck-client", authority: "etcd/ca", expected: false),
        KubeadmCertificate("etcd-peer", file: "etcd/peer", authority: "etcd/ca", expected: false),
        KubeadmCertificate("etcd-server", file: "etcd/server", authority: "etcd/ca", expected: false),
        KubeadmCertificate("controller-manager.conf", authority: "ca", kubeconfig: true),
        KubeadmCertificate("scheduler.conf", authority: "ca", kubeconfig: true),
        KubeadmCertificate("super-admin.conf", authority: "ca", kubeconfig: true, expected: false),
        KubeadmCertificate("admin.conf", authority: "ca", kubeconfig: true),
    ]

    package static func named(_ name: String) -> KubeadmCertificate? { all.first { $0.name == name } }

    /// The command that makes it where it is missing.
    var makingCommand: String {
        isKubeconfig
            ? "kubeadm init phase kubeconfig \(name == "super-admin.conf" ? "super-admin" : name.split(separator: ".")[0])"
            : "kubeadm init phase certs \(name)"
    }
}

/// Where kubeadm's files lie on this node.
package struct KubeadmLayout: Sendable, Hashable, Codable {
    package var kubernetesDirectory: String
    package var kubeletDirectory: String
    /// `certificatesDir` of kubeadm's configuration.
    package var pki: String

    package var manifests: String { kubernetesDirectory + "/manifests" }

    /// The PKI directory is read from the API server's manifest, so that another one than kubeadm's default is found.
    package init(kubernetesDirectory: String = "/etc/kubernetes", kubeletDirectory: String = "/var/lib/kubelet") {
        self.kubernetesDirectory = kubernetesDirectory
        self.kubeletDirectory = kubeletDirectory
        let flags = StaticPod.flags(kubernetesDirectory + "/manifests/kube-apiserver.yaml")
        pki = kubernetesDirectory + "/pki"
        // The authority lies in it whatever the serving certificate's file is called.
        if let file = flags["client-ca-file"], file.hasSuffix("/ca.crt") { pki = FileSystem.parent(of: file) }
    }

    package var isControlPlane: Bool { FileSystem.exists(manifests + "/kube-apiserver.yaml") }

    func path(_ certificate: KubeadmCertificate) -> String {
        certificate.isKubeconfig ? kubernetesDirectory + "/" + certificate.file : "\(pki)/\(certificate.file).crt"
    }

    /// Nil for a kubeconfig, which holds its key.
    func keyPath(_ certificate: KubeadmCertificate) -> String? {
        certificate.isKubeconfig ? nil : "\(pki)/\(certificate.file).key"
    }

    func authorityPath(_ certificate: KubeadmCertificate) -> String { "\(pki)/\(certificate.authority).crt" }
    func authorityKeyPath(_ certificate: KubeadmCertificate) -> String { "\(pki)/\(certificate.authority).key" }

    /// The certificate's PEM and its key's. Throws where there is none.
    func pair(_ certificate: KubeadmCertificate) throws -> (pem: [UInt8], key: [UInt8]) {
        let path = path(certificate)
        let bytes = try FileSystem.read(path, maxBytes: 4 << 20)
        if let keyPath = keyPath(certificate) { return (bytes, try FileSystem.read(keyPath, maxBytes: 1 << 20)) }
        let config = KubeconfigText(bytes)
        guard let pem = config.clientCertificate, let key = config.clientKey else {
            throw RenewalError("\(path) holds no client certificate")
        }
        return (pem, key)
    }

    func certificate(_ which: KubeadmCertificate) throws -> Certificate {
        guard let found = Certificate.read(pem: try pair(which).pem)?.first else {
            throw RenewalError("\(path(which)): no certificate can be read from it")
        }
        return found
    }
}

/// Why a renewal, or a step of it, came to nothing. One line.
package struct RenewalError: Error, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}
