import Platform

/// The web configuration file, in the format of Prometheus' exporters: who may ask, and how the port is secured.
package struct WebConfig: Sendable, Equatable {
    /// User name → bcrypt hash.
    package var users: [String: String] = [:]
    package var tls: TLSServerConfig?
    /// Set on every answer.
    package var headers: [String: String] = [:]
    /// What is allowed and changes nothing here.
    package var warnings: [String] = []

    package var authenticates: Bool { !users.isEmpty || tls?.clientAuth == .requireAndVerify }
}

/// `tls_server_config`. Certificates and keys are PEM texts, read from the files that were named.
package struct TLSServerConfig: Sendable, Equatable {
    /// What is asked of a client; the names are Go's.
    package enum ClientAuth: String, Sendable, CaseIterable {
        case none = "NoClientCert"
        case request = "RequestClientCert"
        case requireAny = "RequireAnyClientCert"
        case verifyIfGiven = "VerifyClientCertIfGiven"
        case requireAndVerify = "RequireAndVerifyClientCert"

        var verifies: Bool { self == .verifyIfGiven || self == .requireAndVerify }
    }

    /// In order, so that they can be compared.
    package enum Version: String, Sendable, CaseIterable {
        case tls10 = "TLS10"
        case tls11 = "TLS11"
        case tls12 = "TLS12"
        case tls13 = "TLS13"

        var order: Int { Self.allCases.firstIndex(of: self) ?? 0 }
    }

    package var certificate: [UInt8] = []
    package var key: [UInt8] = []
    package var clientAuth = ClientAuth.none
    package var clientCA: [UInt8]?
    /// Alternative names (DNS, IP, e-mail or URI) of which a client's certificate must have one; empty: any.
    package var allowedNames: [String] = []
    package var minVersion = Version.tls12
    package var maxVersion = Version.tls13
    /// Up to TLS 1.2, by IANA's names; nil: the library's choice.
    package var cipherSuites: [String]?
    /// Go's names of curves; nil: the library's choice.
    package var curves: [String]?
    /// Every file that this was read from.
    package var files: [String] = []
}

/// Reads a web configuration file and the certificates that it names, and reports what is wrong with them.
func decodeWebConfig(_ path: String, _ issues: ConfigIssues) -> WebConfig {
    var config = WebConfig()
    do {
        guard let node = try ConfigNode.read(file: path), let section = ConfigSection(node, issues) else {
            return config
        }
        for (user, hash) in section.stringMap("basic_auth_users") ?? [] {
            if !hash.hasPrefix("$2"), let at = section.node("basic_auth_users") {
                issues.add(at, "basic_auth_users.\(user) must be a bcrypt hash, as `htpasswd -nB` makes it")
            }
            config.users[user] = hash
        }
        config.tls = section.section("tls_server_config").flatMap { decodeTLSServer($0) }
        if let server = section.section("http_server_config") {
            if server.bool("http2") == true {
                config.warnings.append("http_server_config.http2: HTTP/1.1 is served, which every client speaks")
            }
            for (name, value) in server.stringMap("headers") ?? [] {
                guard allowedHeaders.contains(name.lowercased()), !value.contains(where: \.isNewline) else {
                    if let at = server.node("headers") {
                        issues.add(
                            at, "http_server_config.headers.\(name) cannot be set: only \(headerNames) can, on one line"
                        )
                    }
                    continue
                }
                config.headers[name] = value
            }
            server.finish()
        }
        section.refuse("rate_limit", "it is not offered")
        section.finish()
    } catch {
        issues.add(error)
    }
    return config
}

/// A web configuration file by itself, as it is read again while the server runs. Throws with every finding.
package func loadWebConfig(_ path: String) throws(ConfigProblems) -> WebConfig {
    let issues = ConfigIssues()
    let config = decodeWebConfig(path, issues)
    if !issues.all.isEmpty { throw ConfigProblems(issues: issues.all) }
    return config
}

private let headerNames =
    "Content-Security-Policy, X-Frame-Options, X-Content-Type-Options, X-XSS-Protection and Strict-Transport-Security"
private let allowedHeaders = [
    "content-security-policy", "x-frame-options", "x-content-type-options", "x-xss-protection",
    "strict-transport-security",
]

private func decodeTLSServer(_ section: ConfigSection) -> TLSServerConfig? {
    var config = TLSServerConfig()
    let before = section.issues.all.count
    let certificate = pem(section, "cert", required: true, &config)
    let key = pem(section, "key", required: true, &config)
    config.clientCA = pem(section, "client_ca", required: false, &config)
    if let choice = section.choice("client_auth_type", [""] + TLSServerConfig.ClientAuth.allCases.map(\.rawValue)) {
        config.clientAuth = TLSServerConfig.ClientAuth(rawValue: choice) ?? .none
    }
    config.allowedNames = section.strings("client_allowed_sans") ?? []
    let versions = TLSServerConfig.Version.allCases.map(\.rawValue)
    config.minVersion = version(section.choice("min_version", versions)) ?? config.minVersion
    config.maxVersion = version(section.choice("max_version", versions)) ?? config.maxVersion
    config.cipherSuites = known(section, "cipher_suites", serverCiphers.keys.sorted())
    config.curves = known(section, "curve_preferences", serverCurves.keys.sorted())
    // As in Go since 1.17: the server's order holds in any case.
    _ = section.bool("prefer_server_cipher_suites")
    section.finish()

    if config.minVersion.order > config.maxVersion.order {
        section.issues.add(section.node, "tls_server_config.min_version is above max_version")
    }
    if config.clientCA != nil, config.clientAuth == .none {
        section.issues.add(
            section.node,
            "tls_server_config.client_ca_file needs a client_auth_type, such as RequireAndVerifyClientCert")
    }
    if config.clientAuth.verifies, config.clientCA == nil, section.issues.all.count == before {
        section.issues.add(section.node, "tls_server_config.client_auth_type needs client_ca_file to verify with")
    }
    if !config.allowedNames.isEmpty, config.clientAuth != .requireAndVerify {
        section.issues.add(
            section.node, "tls_server_config.client_allowed_sans needs client_auth_type RequireAndVerifyClientCert")
    }
    guard let certificate, let key, section.issues.all.count == before else { return nil }
    config.certificate = certificate
    config.key = key
    if Certificate.matches(pem: certificate, key: key) != true {
        let names = (section.string("cert_file") ?? "cert", section.string("key_file") ?? "key")
        section.issues.add(
            section.node("key_file") ?? section.node,
            "tls_server_config: \(names.1) is not the private key of the certificate in \(names.0)")
    }
    return config
}

/// The PEM text under `NAME` or in the file under `NAME_file`; it is read and must hold what it should.
private func pem(
    _ section: ConfigSection, _ name: String, required: Bool, _ config: inout TLSServerConfig
) -> [UInt8]? {
    let text = section.string(name)
    let file = section.string(name + "_file").map { resolvePath($0, relativeTo: section.node.file) }
    guard let at = section.node(name + "_file") ?? section.node(name) else {
        if required { section.issues.add(section.node, "tls_server_config lacks \(name)_file") }
        return nil
    }
    if text != nil, file != nil {
        section.issues.add(at, "tls_server_config: at most one of \(name) and \(name)_file may be given")
        return nil
    }
    var bytes = Array((text ?? "").utf8)
    if let file {
        config.files.append(file)
        do {
            bytes = try FileSystem.read(file, maxBytes: 4 << 20)
        } catch {
            section.issues.add(at, "\(at.path): \(error)")
            return nil
        }
    }
    if name != "key", Certificate.read(pem: bytes)?.isEmpty != false {
        section.issues.add(at, "\(at.path): \(file ?? "the text") holds no PEM certificate")
        return nil
    }
    return bytes
}

private func version(_ name: String?) -> TLSServerConfig.Version? { name.flatMap { .init(rawValue: $0) } }

private func known(_ section: ConfigSection, _ key: String, _ names: [String]) -> [String]? {
    guard let list = section.strings(key), let at = section.node(key), !list.isEmpty else { return nil }
    for name in list where !names.contains(name) {
        section.issues.add(at, "\(at.path): \"\(name)\" is not offered\(didYouMean(name, names))")
    }
    return list
}
