/// What a connection trusts and shows. Paths are read when a connection is made; PEM texts take the place of files.
package struct TLSSettings: Sendable, Hashable {
    package var caFile: String?
    package var certFile: String?
    package var keyFile: String?
    package var caPEM: String?
    package var certPEM: String?
    package var keyPEM: String?
    /// The name the certificate must be for, where it is not the URL's host.
    package var serverName: String?
    package var insecureSkipVerify = false
    /// `TLS10` … `TLS13`; TLS 1.2 when nil.
    package var minVersion: String?
    package var maxVersion: String?

    package init() {}
}

package enum HTTPVersion: Sendable {
    /// HTTP/2 over TLS where the server offers it, else HTTP/1.1.
    case auto
    case http1
    case http2
    /// HTTP/2 without TLS and without asking first.
    case http2PriorKnowledge
}

/// One request. Times without a value mean no limit.
package struct HTTPRequest: Sendable {
    package var method: String
    package var url: String
    package var headers: [(name: String, value: String)] = []
    package var body: [UInt8]?
    /// Fills the buffer with the body's next bytes and returns how many, 0 at the end; called on the client's thread.
    package var bodySource: (@Sendable (UnsafeMutableRawBufferPointer) throws -> Int)?
    /// Length of what `bodySource` gives; chunked transfer when nil.
    package var bodyLength: Int?
    package var timeout: Duration?
    package var connectTimeout: Duration = .seconds(10)
    /// Gives up where fewer bytes a second than this come for so long.
    package var lowSpeedLimit: (bytesPerSecond: Int, over: Duration)?
    package var tls = TLSSettings()
    package var basicAuth: (user: String, password: String)?
    package var proxy: String?
    package var noProxy: String?
    package var version = HTTPVersion.auto
    /// Its path is a secret, as those of web hooks are: messages name the server alone.
    package var hidesPath = false
    /// At most ten redirections, to http and https only.
    package var followRedirects = true
    /// Offers gzip and inflates it.
    package var decompress = true
    /// Counts inflated bytes.
    package var maxBodyBytes = 64 << 20
    /// libcurl's CURLOPT_AWS_SIGV4 (`aws:amz:REGION:s3`); the keys are in `basicAuth`.
    package var awsSigV4: String?
    /// Asked with each numeric address before it is connected to; false refuses it.
    package var allowAddress: (@Sendable (String) -> Bool)?

    package init(_ method: String = "GET", _ url: String) {
        self.method = method
        self.url = url
    }
}

/// An answer. Header names are in lower case; trailers stand behind the headers. After redirections only the last
/// answer's headers are kept.
package struct HTTPResponse: Sendable {
    package var status = 0
    package var headers: [(name: String, value: String)] = []
    package var body: [UInt8] = []
    /// Body bytes as they came over the wire, still compressed.
    package var bytesReceived = 0
    package var effectiveURL = ""
    /// 1 or 2.
    package var version = 1
    package var seconds: Double = 0

    package init() {}

    /// The first header of that (lower-case) name.
    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    package var bodyText: String { String(decoding: body, as: UTF8.self) }
}

/// Why a transfer came to nothing. Equality is by kind.
package struct HTTPError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        case invalidRequest, resolve, connect, tls, timeout, bodyTooLarge, badEncoding, protocolError, interrupted
        case cancelled, refusedAddress, tooManyRequests, authentication
    }

    package let kind: Kind
    /// One line, without secrets.
    package let message: String
    package let curlCode: Int32
    /// What had come by then, when any of it had.
    package let partial: HTTPResponse?

    package init(_ kind: Kind, _ message: String, curlCode: Int32 = 0, partial: HTTPResponse? = nil) {
        self.kind = kind
        self.message = message
        self.curlCode = curlCode
        self.partial = partial
    }

    package var description: String { message }

    package static func == (a: HTTPError, b: HTTPError) -> Bool { a.kind == b.kind }
}

/// A mail for an SMTP server.
package struct MailRequest: Sendable {
    package enum StartTLS: Sendable { case never, ifOffered, required }

    /// `smtp://host:port` or `smtps://host:port`.
    package var url: String
    package var from: String
    package var recipients: [String]
    /// The whole message as RFC 5322 wants it, lines ended by CR LF.
    package var message: [UInt8]
    package var user: String?
    package var password: String?
    package var tls = TLSSettings()
    package var startTLS = StartTLS.ifOffered
    package var helloName: String?
    package var timeout: Duration = .seconds(30)

    package init(url: String, from: String, recipients: [String], message: [UInt8]) {
        self.url = url
        self.from = from
        self.recipients = recipients
        self.message = message
    }
}

/// The URL with its password and query values replaced by `xxxxx`, for messages; `hidesPath` leaves the server only.
package func redactURL(_ url: String, hidesPath: Bool = false) -> String {
    if hidesPath {
        let scheme = url.prefix { $0 != ":" }
        let rest = url.dropFirst(scheme.count)
        guard rest.hasPrefix("://") else { return "<secret>" }
        let authority = rest.dropFirst(3).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        return "\(scheme)://\(authority.split(separator: "@").last ?? "")/<secret>"
    }
    var text = Substring(url)
    var out = ""
    if let scheme = text.firstRange(of: "://") {
        out = String(text[..<scheme.upperBound])
        text = text[scheme.upperBound...]
        let end = text.firstIndex { $0 == "/" || $0 == "?" } ?? text.endIndex
        if let at = text[..<end].lastIndex(of: "@") {
            let user = text[..<at].prefix { $0 != ":" }
            out += user.count == text[..<at].count ? "\(user)@" : "\(user):xxxxx@"
            text = text[text.index(after: at)...]
        }
    }
    if let query = text.firstIndex(of: "?") {
        let pairs = text[text.index(after: query)...].split(separator: "&").map { pair in
            pair.contains("=") ? "\(pair.prefix { $0 != "=" })=xxxxx" : String(pair)
        }
        return out + text[..<query] + "?" + pairs.joined(separator: "&")
    }
    return out + text
}
