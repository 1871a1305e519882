import Glibc
import MetricModel
import Platform

/// Who may ask: basic authentication where it is configured, and no changes on behalf of another site.
package struct RequestSecurity: Sendable {
    /// User name → bcrypt hash; empty where no authentication is configured.
    package var users: [String: String]
    /// Bearer tokens that are accepted as well.
    package var tokens: [String]
    /// As Prometheus' `--web.cors.origin`: origins whose pages may read answers; nil allows every one to read.
    package var corsOrigin: (@Sendable (String) -> Bool)?
    /// Set on every answer.
    package var headers: [String: String]
    private let verified = Lock<[String: Int64]>([:])

    package init(
        users: [String: String] = [:], tokens: [String] = [], corsOrigin: (@Sendable (String) -> Bool)? = nil,
        headers: [String: String] = [:]
    ) {
        self.headers = headers
        self.users = users
        self.tokens = tokens
        self.corsOrigin = corsOrigin
    }

    package var isOpen: Bool { users.isEmpty && tokens.isEmpty }

    func refusal(of request: APIRequest, changesState: Bool) async -> APIReply? {
        if !isOpen, await !isAuthenticated(request) {
            var reply = APIReply.text(401, "Unauthorized\n")
            reply.headers.append(("WWW-Authenticate", "Basic"))
            return reply
        }
        if changesState, isCrossSite(request) {
            return .text(403, "refused: this request changes something and comes from another site\n")
        }
        return nil
    }

    private func isAuthenticated(_ request: APIRequest) async -> Bool {
        guard let header = request.header("authorization") else { return false }
        if header.hasPrefix("Bearer ") {
            let given = Array(header.utf8.dropFirst(7))
            return tokens.contains { equalInConstantTime(Array($0.utf8), given) }
        }
        guard header.hasPrefix("Basic "), let pair = decodeBase64(header.utf8.dropFirst(6)),
            let colon = pair.firstIndex(of: UInt8(ascii: ":"))
        else { return false }
        let user = String(decoding: pair[..<colon], as: UTF8.self)
        let password = String(decoding: pair[(colon + 1)...], as: UTF8.self)
        // bcrypt is slow by design: what was right once is remembered by its hash.
        let hash = users[user] ?? "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
        let fingerprint = hexadecimal(Digest.hash(.sha256, Array("\(user)\u{0}\(hash)\u{0}\(password)".utf8)))
        if verified.withLock({ $0[fingerprint] != nil }) { return true }
        let right = (try? await WorkerPool.shared.run { bcryptMatches(password, hash) }) ?? false
        guard right, users[user] != nil else { return false }
        verified.withLock { known in
            if known.count >= 1000 { known.removeAll() }
            known[fingerprint] = 1
        }
        return true
    }

    /// A browser says where a request comes from; other clients send neither header.
    private func isCrossSite(_ request: APIRequest) -> Bool {
        if let site = request.header("sec-fetch-site"), site != "same-origin", site != "none" { return true }
        guard let origin = request.header("origin"), let host = request.header("host") else { return false }
        let originHost = origin.split(separator: "/", maxSplits: 2).last.map(String.init) ?? origin
        return originHost != host
    }

    func decorate(_ reply: APIReply, for request: APIRequest) -> APIReply {
        var reply = reply
        for (name, value) in headers.sorted(by: { $0.key < $1.key }) { reply.headers.append((name, value)) }
        if !headers.keys.contains(where: { $0.lowercased() == "x-content-type-options" }) {
            reply.headers.append(("X-Content-Type-Options", "nosniff"))
        }
        guard let origin = request.header("origin") else { return reply }
        if let corsOrigin {
            guard corsOrigin(origin) else { return reply }
            reply.headers.append(("Vary", "Origin"))
            reply.headers.append(("Access-Control-Allow-Origin", origin))
        } else {
            reply.headers.append(("Access-Control-Allow-Origin", "*"))
        }
        reply.headers.append(("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, Origin"))
        reply.headers.append(("Access-Control-Allow-Methods", "GET, POST, OPTIONS"))
        reply.headers.append(("Access-Control-Expose-Headers", "Date"))
        return reply
    }
}

/// `http.cors_origin`, a regular expression for the whole origin; nil (every origin) where none is configured.
package func corsOrigins(_ pattern: String?) throws -> (@Sendable (String) -> Bool)? {
    guard let pattern, pattern != ".*" else { return nil }
    let regex = try Regex2(pattern)
    return { regex.matchesWhole($0) }
}

private func equalInConstantTime(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    guard a.count == b.count else { return false }
    var difference: UInt8 = 0
    for (x, y) in zip(a, b) { difference |= x ^ y }
    return difference == 0
}

/// Bytes of base64 with or without padding; nil where it is none.
package func decodeBase64(_ text: some Sequence<UInt8>) -> [UInt8]? {
    var out: [UInt8] = []
    var buffer: UInt32 = 0
    var bits = 0
    for byte in text {
        let value: UInt32
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = UInt32(byte - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): value = UInt32(byte - UInt8(ascii: "a")) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): value = UInt32(byte - UInt8(ascii: "0")) + 52
        case UInt8(ascii: "+"), UInt8(ascii: "-"): value = 62
        case UInt8(ascii: "/"), UInt8(ascii: "_"): value = 63
        case UInt8(ascii: "="): continue
        default: return nil
        }
        buffer = buffer << 6 | value
        bits += 6
        if bits >= 8 {
            bits -= 8
            out.append(UInt8(truncatingIfNeeded: buffer >> UInt32(bits)))
        }
    }
    return out
}
