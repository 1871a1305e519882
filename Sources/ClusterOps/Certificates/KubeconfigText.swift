import FoundationEssentials
import Platform

/// The parts of a kubeconfig that certificates are about. Looked for by line: kubeadm writes each value in one.
package struct KubeconfigText: Sendable {
    private let values: [Substring: Substring]

    package init(_ bytes: [UInt8]) {
        var values: [Substring: Substring] = [:]
        let text = String(decoding: bytes, as: UTF8.self)
        for line in text.split(separator: "\n") {
            let rest = line.drop { $0 == " " || $0 == "\t" || $0 == "-" }
            guard let colon = rest.firstIndex(of: ":") else { continue }
            let value = rest[rest.index(after: colon)...].drop { $0 == " " || $0 == "\"" || $0 == "'" }
            let key = rest[..<colon]
            if values[key] == nil { values[key] = value.prefix { $0 != "\"" && $0 != "'" && $0 != "\r" && $0 != " " } }
        }
        self.values = values
    }

    /// PEM of the client certificate that it holds.
    package var clientCertificate: [UInt8]? { data("client-certificate-data") }
    package var clientKey: [UInt8]? { data("client-key-data") }
    package var authority: [UInt8]? { data("certificate-authority-data") }
    /// The file that holds the client certificate, where it is not within.
    package var clientCertificateFile: String? { text("client-certificate") }
    package var server: String? { text("server") }

    package func text(_ key: String) -> String? {
        values[key[...]].flatMap { $0.isEmpty ? nil : String($0) }
    }

    private func data(_ key: String) -> [UInt8]? {
        text(key).flatMap { Data(base64Encoded: $0, options: .ignoreUnknownCharacters) }.map(Array.init)
    }
}
