import FoundationEssentials
import Platform

/// Why a request to the API server came to nothing. Equality is by kind.
package struct KubernetesError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        /// No answer: refused, timed out, TLS, DNS.
        case unreachable
        case unauthorized, forbidden, notFound
        /// 409: the object exists already (`reason` AlreadyExists) or has changed meanwhile (Conflict).
        case conflict
        /// 410: the resourceVersion or continue token is too old.
        case gone
        /// 429: too many requests, or an eviction that a disruption budget forbids (see `isDisruptionBudget`).
        case tooManyRequests
        /// 400, 405, 406, 415, 422: the request is wrong and will stay so.
        case invalid
        /// 5xx.
        case server
        /// The answer is not what was asked for.
        case decoding
        case cancelled
    }

    package var kind: Kind
    /// The HTTP status; 0 where there was no answer.
    package var code = 0
    /// The Status object's `reason`, such as `AlreadyExists`; empty where the answer had none.
    package var reason = ""
    /// The Status object's or the transport's message.
    package var message: String
    package var causes: [Cause] = []
    /// How long the server asks to wait, by its header or the Status object's details.
    package var retryAfter: Duration?
    /// What was asked, such as `GET /api/v1/nodes`.
    package var request = ""

    package struct Cause: Sendable, Hashable, Codable {
        package var reason: String?
        package var message: String?
        package var field: String?
    }

    package init(_ kind: Kind, _ message: String, code: Int = 0, request: String = "") {
        self.kind = kind
        self.message = message
        self.code = code
        self.request = request
    }

    package static func == (a: Self, b: Self) -> Bool { a.kind == b.kind }

    package var description: String {
        let what = request.isEmpty ? "" : "\(request): "
        let detail = causes.compactMap(\.message).joined(separator: "; ")
        return what + message + (detail.isEmpty || message.contains(detail) ? "" : " (\(detail))")
    }

    /// An eviction that would leave too few healthy pods.
    package var isDisruptionBudget: Bool {
        kind == .tooManyRequests && causes.contains { $0.reason == "DisruptionBudget" }
    }

    package var isAlreadyExists: Bool { kind == .conflict && reason == "AlreadyExists" }

    init(_ error: HTTPError, request: String) {
        // The transport's message begins with the URL; the request is named already.
        let text = error.message
        let detail = text.hasPrefix("http") ? text.firstRange(of: ": ").map { String(text[$0.upperBound...]) } : nil
        self.init(error.kind == .cancelled ? .cancelled : .unreachable, detail ?? text, request: request)
    }

    /// From an answer that is not 2xx: a Status object, or plain text as proxies and the aggregator send.
    init(status code: Int, body: [UInt8], retryAfterHeader: String?, request: String) {
        let status = try? JSONDecoder().decode(StatusObject.self, from: Data(body))
        self.init(Self.kind(of: code), "", code: code, request: request)
        if let status, status.kind == "Status" {
            reason = status.reason ?? ""
            message = status.message ?? ""
            causes = status.details?.causes ?? []
            retryAfter = status.details?.retryAfterSeconds.map { .seconds(max(0, min($0, 3600))) }
        } else {
            message = String(decoding: body.prefix(300), as: UTF8.self)
                .split(whereSeparator: \.isNewline).joined(separator: " ")
        }
        if message.isEmpty { message = "the server answers with status \(code)" }
        if let seconds = retryAfterHeader.flatMap({ Int($0) }) { retryAfter = .seconds(max(0, min(seconds, 3600))) }
    }

    /// From an ERROR event of a watch.
    init(status code: Int, message: String, reason: String, request: String) {
        self.init(Self.kind(of: code), message.isEmpty ? "the watch ended with status \(code)" : message, code: code)
        self.reason = reason
        self.request = request
    }

    static func kind(of code: Int) -> Kind {
        switch code {
        case 401: .unauthorized
        case 403: .forbidden
        case 404: .notFound
        case 409: .conflict
        case 410: .gone
        case 429: .tooManyRequests
        case 400..<500: .invalid
        default: .server
        }
    }
}

/// `meta/v1 Status`.
struct StatusObject: Decodable {
    struct Details: Decodable {
        var causes: [KubernetesError.Cause]?
        var retryAfterSeconds: Int?
    }

    var kind: String?
    var status: String?
    var reason: String?
    var message: String?
    var details: Details?
    var code: Int?
}
