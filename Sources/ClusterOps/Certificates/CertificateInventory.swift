package import Platform

/// A certificate of this node that somebody should renew in time.
package struct WatchedCertificate: Sendable {
    package var path: String
    /// `ca`, `certificate`, `kubeconfig`, `kubelet`, or `served` for what a port shows.
    package var kind: String
    package var certificate: Certificate
    /// What should be known of it; empty where all is well.
    package var note = ""

    package func daysLeft(at now: Int64) -> Int64 { (certificate.notAfter - now) / 86_400_000 }
}

/// What a port shows, beside the file that it should show.
package struct ServedCertificateState: Sendable {
    package var endpoint: ServedEndpoint
    /// What it shows, or why nothing was seen.
    package var served: Result<Certificate, ServedCertificate.Failure>
    /// Nil where it shows no file, or the file cannot be read.
    package var fileFingerprint: String?

    /// Nil where it cannot be told.
    package var showsFile: Bool? {
        guard case .success(let certificate) = served, let fileFingerprint else { return nil }
        return certificate.fingerprint == fileFingerprint
    }

    /// The port as a row among the files, and what is wrong with it.
    package var told: (row: WatchedCertificate?, problem: String?) {
        guard case .success(let certificate) = served else {
            if case .failure(let failure) = served { return (nil, "\(endpoint.component): \(failure)") }
            return (nil, nil)
        }
        var row = WatchedCertificate(
            path: endpoint.address, kind: "served", certificate: certificate, note: endpoint.component)
        guard let file = endpoint.file, let showsFile else { return (row, nil) }
        row.note += showsFile ? " shows \(file)" : " shows another than \(file)"
        if showsFile { return (row, nil) }
        return (
            row,
            "\(endpoint.component) on \(endpoint.address) shows serial \(certificate.serial), not the certificate of \(file): restart it"
        )
    }
}

/// Finds what kubeadm puts on a node: `pki`, `pki/etcd`, the kubeconfigs and kubelet's own, and what the node's ports show.
/// Nothing of the cluster need be alive. Calls block.
package struct CertificateInventory: Sendable {
    package let layout: KubeadmLayout
    package var kubernetesDirectory: String { layout.kubernetesDirectory }
    package var kubeletDirectory: String { layout.kubeletDirectory }

    package init(kubernetesDirectory: String = "/etc/kubernetes", kubeletDirectory: String = "/var/lib/kubelet") {
        layout = KubeadmLayout(kubernetesDirectory: kubernetesDirectory, kubeletDirectory: kubeletDirectory)
    }

    package init(layout: KubeadmLayout) { self.layout = layout }

    /// What is there, the first to expire first, and a line for each file that cannot be read.
    package func scan() -> (certificates: [WatchedCertificate], problems: [String]) {
        var found: [WatchedCertificate] = []
        var problems: [String] = []
        func take(_ path: String, _ kind: String, _ pem: [UInt8]) {
            // The first is the holder's own; those after it are its chain.
            guard let first = Certificate.read(pem: pem)?.first else {
                problems.append("\(path): no certificate can be read from it")
                return
            }
            let kind = kind == "certificate" && first.isCA ? "ca" : kind
            found.append(WatchedCertificate(path: path, kind: kind, certificate: first))
        }
        func read(_ path: String) -> [UInt8]? {
            do {
                return try FileSystem.read(path, maxBytes: 4 << 20)
            } catch {
                problems.append("\(error)")
                return nil
            }
        }
        for pattern in ["/*.crt", "/etcd/*.crt"] {
            for path in FileSystem.glob(layout.pki + pattern) {
                if let bytes = read(path) { take(path, "certificate", bytes) }
            }
        }
        for path in FileSystem.glob(kubernetesDirectory + "/*.conf") {
            guard let bytes = read(path), let pem = KubeconfigText(bytes).clientCertificate else { continue }
            take(path, "kubeconfig", pem)
        }
        let names = ["kubelet-client-current.pem", "kubelet-server-current.pem", "kubelet.crt"]
        for path in names.map({ "\(kubeletDirectory)/pki/\($0)" }) where FileSystem.exists(path) {
            if let bytes = read(path) { take(path, "kubelet", bytes) }
        }
        found.sort { ($0.certificate.notAfter, $0.path) < ($1.certificate.notAfter, $1.path) }
        return (found, problems)
    }

    /// Every port of this node's control plane and kubelet that speaks TLS, by its manifests and configuration.
    package func endpoints() -> [ServedEndpoint] {
        var out = StaticPodManifest.read(directory: layout.manifests).flatMap { $0.servedEndpoints(pki: layout.pki) }
        let kubelet = KubeletSettings(directory: kubeletDirectory)
        if kubelet.isPresent {
            out.append(
                ServedEndpoint(component: "kubelet", host: "127.0.0.1", port: kubelet.port, file: kubelet.servingFile))
        }
        return out
    }

    /// Asks each port in a handshake of its own, one after the other.
    package func served(timeout: Duration = .seconds(5)) -> [ServedCertificateState] {
        endpoints().map { endpoint in
            let served = Result { () throws(ServedCertificate.Failure) in try endpoint.read(timeout: timeout) }
            let file = endpoint.file.flatMap { try? FileSystem.read($0, maxBytes: 4 << 20) }
            return ServedCertificateState(
                endpoint: endpoint, served: served,
                fileFingerprint: file.flatMap { Certificate.read(pem: $0)?.first?.fingerprint })
        }
    }
}

/// What of kubelet's configuration is about certificates. Read by line from `config.yaml`.
struct KubeletSettings {
    let isPresent: Bool
    let port: UInt16
    let rotatesCertificates: Bool
    /// The serving certificate's file.
    let servingFile: String

    init(directory: String) {
        let text = try? FileSystem.readText(directory + "/config.yaml", maxBytes: 1 << 20)
        isPresent = text != nil
        var values: [Substring: Substring] = [:]
        for line in (text ?? "").split(separator: "\n") where line.first != " " {
            guard let colon = line.firstIndex(of: ":") else { continue }
            values[line[..<colon]] = line[line.index(after: colon)...].filter { !" \"'\r".contains($0) }[...]
        }
        port = values["port"].flatMap { UInt16($0) } ?? 10250
        // kubeadm writes it; where the key is missing kubelet's own default is off.
        rotatesCertificates = values["rotateCertificates"] == "true"
        let current = directory + "/pki/kubelet-server-current.pem"
        servingFile =
            values["tlsCertFile"].map(String.init)
            ?? (FileSystem.exists(current) ? current : directory + "/pki/kubelet.crt")
    }
}
