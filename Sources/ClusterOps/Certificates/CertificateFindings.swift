import Platform

/// Something about this node's certificates that renewal cannot put right by itself, and what to do.
package struct CertificateFinding: Sendable, Hashable {
    package enum Kind: String, Sendable {
        case externalAuthority = "external_ca"
        case missing, unreadable, mismatch
        case authorityExpires = "ca_expires"
        case rotationOff = "rotation_off"
        case kubeletExpired = "kubelet_expired"
        case servingExpires = "kubelet_serving_expires"
    }

    package var kind: Kind
    package var path: String
    package var problem: String
    package var advice: String
    /// Whether something fails, now or soon, unless somebody sees to it.
    package var isUrgent: Bool

    /// Whether a certificate that is due stays as it is because of it.
    var blocksRenewal: Bool {
        switch kind {
        case .missing, .unreadable, .mismatch: true
        case .externalAuthority: isUrgent
        default: false
        }
    }

    package var line: String { "\(path): \(problem): \(advice)" }
}

extension CertificateInventory {
    /// What somebody has to see to by hand. `warnBefore` (milliseconds) is how long before its end a certificate counts as due.
    package func findings(now: Int64, warnBefore: Int64) -> [CertificateFinding] {
        var out: [CertificateFinding] = []
        func add(
            _ kind: CertificateFinding.Kind, _ path: String, _ problem: String, _ advice: String, urgent: Bool
        ) {
            out.append(
                CertificateFinding(kind: kind, path: path, problem: problem, advice: advice, isUrgent: urgent))
        }
        if layout.isControlPlane {
            for certificate in KubeadmCertificate.all { look(at: certificate, now, warnBefore, add) }
            authorities(now, warnBefore, add)
        }
        kubelet(now, warnBefore, add)
        return out
    }

    private typealias Adding = (CertificateFinding.Kind, String, String, String, Bool) -> Void

    private func look(at certificate: KubeadmCertificate, _ now: Int64, _ warnBefore: Int64, _ add: Adding) {
        let path = layout.path(certificate)
        guard FileSystem.exists(path) else {
            // A stacked etcd's certificates are expected where its manifest or its authority is.
            let wanted =
                certificate.isExpected
                || (certificate.authority == "etcd/ca" && FileSystem.exists(layout.manifests + "/etcd.yaml"))
            if wanted { add(.missing, path, "is missing", "make it with `\(certificate.makingCommand)`", true) }
            return
        }
        let pair: (pem: [UInt8], key: [UInt8])
        let found: Certificate
        do {
            pair = try layout.pair(certificate)
            found = try layout.certificate(certificate)
        } catch {
            add(
                .unreadable, path, "cannot be used (\(error))",
                "move it away and make it anew with `\(certificate.makingCommand)`", true)
            return
        }
        let due = found.notAfter - now < warnBefore
        if Certificate.matches(pem: pair.pem, key: pair.key) != true {
            add(
                .mismatch, path, "the certificate was made for another key than the one beside it",
                "put the right pair back from a backup, or renew it", true)
        }
        let authority = layout.authorityPath(certificate)
        if let ca = try? FileSystem.read(authority, maxBytes: 1 << 20),
            Certificate.isSigned(pem: pair.pem, by: ca) == false
        {
            add(
                .mismatch, path, "is not signed by \(authority)",
                "find out which of the two was replaced: components refuse one another otherwise", true)
        }
        if !FileSystem.exists(layout.authorityKeyPath(certificate)) {
            add(
                .externalAuthority, path,
                "its authority's key \(layout.authorityKeyPath(certificate)) is not on this node",
                due
                    ? "have the authority sign a new one, put it there and restart the component"
                    : "kubeadm cannot renew it: the authority has to sign a new one in time", due)
        }
    }

    private func authorities(_ now: Int64, _ warnBefore: Int64, _ add: Adding) {
        for name in ["ca", "etcd/ca", "front-proxy-ca"] {
            let path = "\(layout.pki)/\(name).crt"
            guard let bytes = try? FileSystem.read(path, maxBytes: 1 << 20),
                let found = Certificate.read(pem: bytes)?.first
            else { continue }
            let left = found.notAfter - now
            // What it signs lives a year: from then on nothing can be renewed for its full time.
            guard left < 365 * 86_400_000 + warnBefore else { continue }
            let days = left / 86_400_000
            add(
                .authorityExpires, path,
                left <= 0 ? "the authority has expired" : "the authority expires in \(days) days",
                "kubeadm renews no authority: replace it by hand, https://kubernetes.io/docs/tasks/tls/manual-rotation-of-ca-certificates",
                left < 90 * 86_400_000)
        }
    }

    private func kubelet(_ now: Int64, _ warnBefore: Int64, _ add: Adding) {
        let settings = KubeletSettings(directory: kubeletDirectory)
        guard settings.isPresent else { return }
        if !settings.rotatesCertificates {
            add(
                .rotationOff, kubeletDirectory + "/config.yaml",
                "kubelet does not renew its client certificate by itself",
                "set rotateCertificates: true and restart kubelet", true)
        }
        func notAfter(_ path: String) -> Int64? {
            (try? FileSystem.read(path, maxBytes: 1 << 20)).flatMap { Certificate.read(pem: $0)?.first?.notAfter }
        }
        let config = (try? FileSystem.read(kubernetesDirectory + "/kubelet.conf", maxBytes: 1 << 20)).map(
            KubeconfigText.init)
        let client = kubeletDirectory + "/pki/kubelet-client-current.pem"
        if let config, config.clientCertificate != nil {
            add(
                .rotationOff, kubernetesDirectory + "/kubelet.conf",
                "it holds a certificate of its own, so that a rotated one is not used after a restart",
                "name \(client) as client-certificate and client-key in it", false)
        }
        if let end = notAfter(config?.clientCertificateFile ?? client), end <= now {
            add(
                .kubeletExpired, client, "kubelet's client certificate has expired, so the node can no longer log in",
                "on a control plane: `kubeadm kubeconfig user --org system:nodes --client-name system:node:NAME > /etc/kubernetes/kubelet.conf`, then restart kubelet",
                true)
        }
        if let end = notAfter(settings.servingFile), end - now < warnBefore {
            let rotated = settings.servingFile.hasSuffix("-current.pem")
            add(
                .servingExpires, settings.servingFile,
                end <= now ? "kubelet's serving certificate has expired" : "kubelet's serving certificate is due",
                rotated
                    ? "approve its request: `kubectl get csr`, `kubectl certificate approve NAME`"
                    : "kubelet makes a new one for itself when the files kubelet.crt and kubelet.key are gone: remove both and restart kubelet",
                end <= now)
        }
    }
}
