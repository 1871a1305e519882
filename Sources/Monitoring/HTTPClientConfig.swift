import FoundationEssentials
package import Platform

/// Prometheus' `http_config` with all its forms. Secrets in files are read for each request, so that a renewed token counts
/// at once. Nothing here is ever printed.
package struct HTTPClientConfig: Sendable, Hashable {
    package struct BasicAuth: Sendable, Hashable {
        package var username = ""
        package var usernameFile: String?
        package var password = ""
        package var passwordFile: String?
        package init() {}
    }

    package struct Authorization: Sendable, Hashable {
        package var type = "Bearer"
        package var credentials = ""
        package var credentialsFile: String?
        package init() {}
    }

    package struct OAuth2: Sendable, Hashable {
        package var clientID = ""
        package var clientSecret = ""
        package var clientSecretFile: String?
        package var scopes: [String] = []
        package var tokenURL = ""
        package var endpointParams: [String: String] = [:]
        package var tls = TLSSettings()
        package var proxyURL: String?
        package init() {}
    }

    package struct Header: Sendable, Hashable {
        package var name: String
        package var values: [String] = []
        package var secrets: [String] = []
        package var files: [String] = []
        package init(name: String) { self.name = name }
    }

    package var basicAuth: BasicAuth?
    package var authorization: Authorization?
    package var oauth2: OAuth2?
    package var tls = TLSSettings()
    package var proxyURL: String?
    package var noProxy: String?
    package var proxyFromEnvironment = false
    package var followRedirects = true
    package var enableHTTP2 = true
    package var headers: [Header] = []

    package init() {}

    /// Puts everything but OAuth 2 into a request. Throws where a file of a secret cannot be read.
    package func apply(to request: inout HTTPRequest) throws(FileError) {
        request.tls = tls
        request.followRedirects = followRedirects
        if !enableHTTP2 { request.version = .http1 }
        request.proxy = proxyURL
        request.noProxy = noProxy
        if !proxyFromEnvironment && proxyURL == nil { request.proxy = "" }
        if let basicAuth {
            request.basicAuth = (
                try basicAuth.usernameFile.map(secret) ?? basicAuth.username,
                try basicAuth.passwordFile.map(secret) ?? basicAuth.password
            )
        }
        if let authorization {
            let credentials = try authorization.credentialsFile.map(secret) ?? authorization.credentials
            request.headers.append(("Authorization", "\(authorization.type) \(credentials)"))
        }
        for header in headers {
            for value in header.values + header.secrets { request.headers.append((header.name, value)) }
            for file in header.files { request.headers.append((header.name, try secret(file))) }
        }
    }

    private func secret(_ path: String) throws(FileError) -> String {
        let text = try FileSystem.readText(path, maxBytes: 1 << 20)
        return String(text.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
    }
}

/// Applies a configuration to requests and keeps the OAuth 2 token it needs. Safe to share.
package actor HTTPAuthorizer {
    private let config: HTTPClientConfig
    private let client: HTTPClient
    private let clock: WallClock
    private var token: (text: String, validUntil: Int64)?

    package init(_ config: HTTPClientConfig, client: HTTPClient, clock: WallClock) {
        self.config = config
        self.client = client
        self.clock = clock
    }

    package nonisolated func prepare(_ request: HTTPRequest) async throws -> HTTPRequest {
        var request = request
        try config.apply(to: &request)
        if let oauth2 = config.oauth2 {
            request.headers.append(("Authorization", "Bearer \(try await token(oauth2))"))
        }
        return request
    }

    /// The client-credentials grant of RFC 6749, section 4.4.
    private func token(_ oauth2: HTTPClientConfig.OAuth2) async throws -> String {
        if let token, token.validUntil > clock.nowMilliseconds() { return token.text }
        var request = HTTPRequest("POST", oauth2.tokenURL)
        request.tls = oauth2.tls
        request.proxy = oauth2.proxyURL
        request.timeout = .seconds(30)
        let secret = try oauth2.clientSecretFile.map { try FileSystem.readText($0, maxBytes: 1 << 20) }
        let trimmed = secret.map { String($0.prefix { !$0.isNewline }) }
        request.basicAuth = (oauth2.clientID, trimmed ?? oauth2.clientSecret)
        var form = [("grant_type", "client_credentials")]
        if !oauth2.scopes.isEmpty { form.append(("scope", oauth2.scopes.joined(separator: " "))) }
        form += oauth2.endpointParams.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        request.body = Array(form.map { "\(percentEncoded($0.0))=\(percentEncoded($0.1))" }.joined(separator: "&").utf8)
        request.headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        let response = try await client.send(request)
        struct Answer: Decodable {
            var token: String
            var lifetime: Double?
            enum CodingKeys: String, CodingKey {
                case token = "access_token"
                case lifetime = "expires_in"
            }
        }
        guard response.status == 200,
            let answer = try? JSONDecoder().decode(Answer.self, from: Data(response.body))
        else {
            throw HTTPError(.authentication, "\(redactURL(oauth2.tokenURL)) gives no token (status \(response.status))")
        }
        // Renewed a little before its end.
        let lifetime = Int64(max(0, min((answer.lifetime ?? 60) - 10, 86_400)) * 1000)
        token = (answer.token, clock.nowMilliseconds() + lifetime)
        return answer.token
    }
}
