import FoundationEssentials
import NIOCore
import NIOSSL
import Platform

/// Cipher suites that a configuration may name, by IANA's names as Go writes them; those of TLS 1.3 are always on.
let serverCiphers: [String: NIOTLSCipher] = [
    "TLS_RSA_WITH_AES_128_CBC_SHA": .TLS_RSA_WITH_AES_128_CBC_SHA,
    "TLS_RSA_WITH_AES_256_CBC_SHA": .TLS_RSA_WITH_AES_256_CBC_SHA,
    "TLS_RSA_WITH_AES_128_GCM_SHA256": .TLS_RSA_WITH_AES_128_GCM_SHA256,
    "TLS_RSA_WITH_AES_256_GCM_SHA384": .TLS_RSA_WITH_AES_256_GCM_SHA384,
    "TLS_AES_128_GCM_SHA256": .TLS_AES_128_GCM_SHA256,
    "TLS_AES_256_GCM_SHA384": .TLS_AES_256_GCM_SHA384,
    "TLS_CHACHA20_POLY1305_SHA256": .TLS_CHACHA20_POLY1305_SHA256,
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": .TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": .TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": .TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": .TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": .TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": .TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
]

/// Go's names of curves.
let serverCurves: [String: NIOTLSCurve] = [
    "CurveP256": .secp256r1, "CurveP384": .secp384r1, "CurveP521": .secp521r1, "X25519": .x25519,
    "X25519MLKEM768": .x25519_MLKEM768,
]

/// What a new connection is secured with. Immutable; a change of the files makes another.
package struct ServerTLS: Sendable {
    private let context: NIOSSLContext
    private let config: TLSServerConfig

    /// Throws with one line where the library refuses the certificates or the choices.
    package init(_ config: TLSServerConfig) throws {
        self.config = config
        do {
            context = try NIOSSLContext(configuration: Self.configuration(config))
        } catch {
            throw TLSProblem(description: "tls_server_config cannot be used: \(error)")
        }
    }

    private static func configuration(_ config: TLSServerConfig) throws -> TLSConfiguration {
        var tls = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMBytes(config.certificate).map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(bytes: config.key, format: .pem)))
        tls.minimumTLSVersion = version(config.minVersion)
        tls.maximumTLSVersion = version(config.maxVersion)
        tls.applicationProtocols = ["http/1.1"]
        if let names = config.cipherSuites { tls.cipherSuiteValues = names.compactMap { serverCiphers[$0] } }
        if let names = config.curves { tls.curves = names.compactMap { serverCurves[$0] } }
        if let ca = config.clientCA {
            tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMBytes(ca))
            tls.sendCANameList = true
        }
        switch config.clientAuth {
        case .none: tls.certificateVerification = .none
        case .request, .verifyIfGiven: tls.certificateVerification = .optionalVerification
        case .requireAny, .requireAndVerify: tls.certificateVerification = .noHostnameVerification
        }
        return tls
    }

    private static func version(_ version: TLSServerConfig.Version) -> TLSVersion {
        switch version {
        case .tls10: .tlsv1
        case .tls11: .tlsv11
        case .tls12: .tlsv12
        case .tls13: .tlsv13
        }
    }

    /// The handler of one connection.
    func handler() -> NIOSSLServerHandler {
        switch config.clientAuth {
        case .request, .requireAny:
            // Whoever signed it: only that there is one is asked.
            return NIOSSLServerHandler(context: context) { _, promise in promise.succeed(.certificateVerified) }
        case .requireAndVerify where !config.allowedNames.isEmpty:
            let allowed = Set(config.allowedNames)
            return ._makeSSLServerHandler(context: context) { certificate, channel in
                if allowed.isDisjoint(with: names(of: certificate)) {
                    return channel.eventLoop.makeFailedFuture(
                        TLSProblem(description: "no name of the client's certificate is in client_allowed_sans"))
                }
                return channel.eventLoop.makeSucceededVoidFuture()
            }
        case .none, .verifyIfGiven, .requireAndVerify:
            return NIOSSLServerHandler(context: context)
        }
    }
}

/// The alternative names of a certificate without their kinds.
private func names(of certificate: NIOSSLCertificate) -> [String] {
    guard let der = try? certificate.toDERBytes() else { return [] }
    let pem =
        "-----BEGIN CERTIFICATE-----\n\(Data(der).base64EncodedString(options: .lineLength64Characters))\n-----END CERTIFICATE-----\n"
    let sorted = Certificate.read(pem: Array(pem.utf8))?.first?.sortedNames ?? []
    return sorted.map { name in name.firstIndex(of: ":").map { String(name[name.index(after: $0)...]) } ?? name }
}

package struct TLSProblem: Error, CustomStringConvertible {
    package let description: String
}
