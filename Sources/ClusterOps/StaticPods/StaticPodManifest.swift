import Etcd
package import Platform

/// A file that kubelet runs as a pod. Read line by line, as kubeadm writes them: nothing of the cluster need be alive, and
/// a manifest that is written in another way gives fewer flags, never wrong ones.
package struct StaticPodManifest: Sendable {
    package var path: String
    /// The file's name without `.yaml`, which for kubeadm's pods is the component's.
    package var component: String
    /// The first word of the first container's command; empty where the image decides it.
    package var program: String
    package var flags: [String: String]
    private let words: Set<Substring>

    init(path: String, text: String) {
        self.path = path
        let file = FileSystem.name(of: path)
        component = file.split(separator: ".").first.map(String.init) ?? file
        flags = StaticPod.flags(text: text)
        words = Set(text.split { $0.isWhitespace || $0 == "\"" || $0 == "'" || $0 == "=" || $0 == "," })
        program = Self.program(text)
    }

    private static func program(_ text: String) -> String {
        var inCommand = false
        for line in text.split(separator: "\n") {
            let rest = line.drop { $0 == " " || $0 == "\t" || $0 == "-" }
            if inCommand {
                guard line.drop(while: { $0 == " " }).hasPrefix("- ") else { return "" }
                let word = rest.split { " \t\r\"'".contains($0) }.first ?? ""
                return FileSystem.name(of: String(word))
            }
            inCommand = rest.hasPrefix("command:")
        }
        return ""
    }

    /// Whether it names that file, as a flag's value or as a host path.
    package func names(_ file: String) -> Bool { words.contains(file[...]) }

    /// All manifests of a directory as kubelet takes them: every file whose name begins with no dot.
    package static func read(directory: String) -> [StaticPodManifest] {
        ((try? FileSystem.list(directory)) ?? []).filter { !$0.hasPrefix(".") }.compactMap { name in
            let path = directory + "/" + name
            guard let text = try? FileSystem.readText(path, maxBytes: 1 << 20) else { return nil }
            return StaticPodManifest(path: path, text: text)
        }
    }

    // MARK: what it serves

    /// The ports with TLS, and the file whose certificate each should show.
    package func servedEndpoints(pki: String) -> [ServedEndpoint] {
        switch component {
        case "kube-apiserver":
            return endpoint(defaultPort: 6443, file: flags["tls-cert-file"])
        case "kube-controller-manager":
            return endpoint(defaultPort: 10257, file: flags["tls-cert-file"])
        case "kube-scheduler":
            return endpoint(defaultPort: 10259, file: flags["tls-cert-file"])
        case "etcd":
            let client = (pki + "/etcd/healthcheck-client.crt", pki + "/etcd/healthcheck-client.key")
            return [
                etcdEndpoint("listen-client-urls", file: flags["cert-file"], client),
                etcdEndpoint("listen-peer-urls", file: flags["peer-cert-file"], client),
            ].compactMap { $0 }
        default:
            return []
        }
    }

    private func endpoint(defaultPort: UInt16, file: String?) -> [ServedEndpoint] {
        let port = flags["secure-port"].flatMap(UInt16.init) ?? defaultPort
        guard port != 0 else { return [] }
        return [ServedEndpoint(component: component, host: reachable(flags["bind-address"]), port: port, file: file)]
    }

    private func etcdEndpoint(_ flag: String, file: String?, _ client: (String, String)) -> ServedEndpoint? {
        let urls = (flags[flag] ?? "").split(separator: ",").filter { $0.hasPrefix("https://") }
        guard let url = urls.first, let port = EtcdPresence.port(String(url)) else { return nil }
        var host = String(url.dropFirst("https://".count).prefix { $0 != "/" })
        if let colon = host.lastIndex(of: ":") { host = String(host[..<colon]) }
        return ServedEndpoint(
            component: component, host: reachable(host), port: port, file: file, clientCertificate: client.0,
            clientKey: client.1)
    }

    /// An address that this node can connect to, for one that a component binds to.
    private func reachable(_ address: String?) -> String {
        let text = (address ?? "").filter { $0 != "[" && $0 != "]" }
        return text.isEmpty || text == "0.0.0.0" || text == "::" ? "127.0.0.1" : text
    }
}

/// A port of this node that speaks TLS.
package struct ServedEndpoint: Sendable, Hashable {
    package var component: String
    package var host: String
    package var port: UInt16
    /// Nil where the component makes a certificate for itself at each start and keeps it in memory.
    package var file: String?
    /// Shown where the server asks for a client's.
    package var clientCertificate: String?
    package var clientKey: String?

    package var address: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// The certificate it shows now. Blocks.
    package func read(timeout: Duration = .seconds(5)) throws(ServedCertificate.Failure) -> Certificate {
        var pair: (cert: [UInt8], key: [UInt8])?
        if let clientCertificate, let clientKey, let cert = try? FileSystem.read(clientCertificate, maxBytes: 1 << 20),
            let key = try? FileSystem.read(clientKey, maxBytes: 1 << 20),
            Certificate.matches(pem: cert, key: key) == true
        {
            pair = (cert, key)
        }
        return try ServedCertificate.read(host: host, port: port, cert: pair?.cert, key: pair?.key, timeout: timeout)
    }
}
