package import Platform

/// A certificate of this node that somebody should renew in time.
package struct WatchedCertificate: Sendable {
    package var path: String
    /// `ca`, `certificate`, `kubeconfig` or `kubelet`
    package var kind: String
    package var certificate: Certificate

    package func daysLeft(at now: Int64) -> Int64 { (certificate.notAfter - now) / 86_400_000 }
}

/// Finds what kubeadm puts on a node: `pki`, `pki/etcd`, the kubeconfigs and kubelet's own. Reads files only; nothing of the
/// cluster need be alive. Calls block.
package struct CertificateInventory: Sendable {
    package var kubernetesDirectory: String
    package var kubeletDirectory: String

    package init(kubernetesDirectory: String = "/etc/kubernetes", kubeletDirectory: String = "/var/lib/kubelet") {
        self.kubernetesDirectory = kubernetesDirectory
        self.kubeletDirectory = kubeletDirectory
    }

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
        for pattern in ["/pki/*.crt", "/pki/etcd/*.crt"] {
            for path in FileSystem.glob(kubernetesDirectory + pattern) {
                if let bytes = read(path) { take(path, "certificate", bytes) }
            }
        }
        for path in FileSystem.glob(kubernetesDirectory + "/*.conf") {
            guard let bytes = read(path), let pem = embedded(bytes) else { continue }
            take(path, "kubeconfig", pem)
        }
        for path in ["/pki/kubelet-client-current.pem", "/pki/kubelet.crt"].map({ kubeletDirectory + $0 })
        where FileSystem.exists(path) {
            if let bytes = read(path) { take(path, "kubelet", bytes) }
        }
        found.sort { ($0.certificate.notAfter, $0.path) < ($1.certificate.notAfter, $1.path) }
        return (found, problems)
    }

    /// The client certificate in a kubeconfig. A line is enough to look for: kubeadm writes the data in one.
    private func embedded(_ kubeconfig: [UInt8]) -> [UInt8]? {
        for line in kubeconfig.split(separator: UInt8(ascii: "\n")) {
            let text = String(decoding: line, as: UTF8.self)
            guard let key = text.split(separator: ":", maxSplits: 1).first,
                key.trimmingPrefix(while: { $0 == " " || $0 == "-" }) == "client-certificate-data"
            else { continue }
            return base64Decoded(text.dropFirst(key.count + 1).utf8)
        }
        return nil
    }
}

/// Bytes of base64; anything else in the text is passed over.
private func base64Decoded(_ text: some Sequence<UInt8>) -> [UInt8] {
    var out: [UInt8] = []
    var buffer: UInt32 = 0
    var bits = 0
    for byte in text {
        let value: UInt8
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = byte - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): value = byte - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): value = byte - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): value = 62
        case UInt8(ascii: "/"): value = 63
        default: continue
        }
        buffer = buffer << 6 | UInt32(value)
        bits += 6
        if bits >= 8 {
            bits -= 8
            out.append(UInt8(truncatingIfNeeded: buffer >> UInt32(bits)))
        }
    }
    return out
}
