/// A request as the handlers see it: decoded, its body whole and bounded.
package struct APIRequest: Sendable {
    package var method: String
    package var path: String
    /// Query parameters, then those of a POSTed form.
    package var parameters: [(name: String, value: String)]
    /// Names in lower case.
    package var headers: [(name: String, value: String)]
    package var body: [UInt8]
    /// What stood for the variable parts of the route, in order.
    package var pathValues: [String]
    /// The address that the request came from; empty where that is not known.
    package var client = ""
    /// Called back when the client has gone away.
    package var cancellation: Cancellation
    /// Whether next to no work may be done on the thread that calls the handler.
    package var mayAnswerHere = true

    package init(
        method: String, path: String, parameters: [(name: String, value: String)] = [],
        headers: [(name: String, value: String)] = [], body: [UInt8] = [], pathValues: [String] = [],
        cancellation: Cancellation = Cancellation()
    ) {
        self.method = method
        self.path = path
        self.parameters = parameters
        self.headers = headers
        self.body = body
        self.pathValues = pathValues
        self.cancellation = cancellation
    }

    package func parameter(_ name: String) -> String? { parameters.first { $0.name == name }?.value }
    package func parameters(_ name: String) -> [String] { parameters.filter { $0.name == name }.map(\.value) }
    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
}

/// An answer: its bytes, or a source of pieces for one too large to hold.
package struct APIReply: Sendable {
    package enum Body: Sendable {
        case bytes([UInt8])
        /// Gives the next piece, nil at the end. Called by one task at a time, on the worker pool.
        case pieces(@Sendable () throws -> [UInt8]?)
    }

    package var status: Int
    package var contentType: String
    package var headers: [(name: String, value: String)] = []
    package var body: Body

    package init(_ status: Int, _ contentType: String, _ body: [UInt8]) {
        self.status = status
        self.contentType = contentType
        self.body = .bytes(body)
    }

    package static func text(_ status: Int, _ text: String) -> APIReply {
        APIReply(status, "text/plain; charset=utf-8", Array(text.utf8))
    }

    package static func json(_ status: Int = 200, _ write: (inout JSONWriter) -> Void) -> APIReply {
        var writer = JSONWriter()
        write(&writer)
        return APIReply(status, "application/json", writer.bytes)
    }

    /// Prometheus' envelope of a success.
    package static func success(
        warnings: [String] = [], infos: [String] = [], _ data: (inout JSONWriter) -> Void
    ) -> APIReply {
        json { writer in
            writer.beginObject()
            writer.key("status")
            writer.string("success")
            writer.key("data")
            data(&writer)
            if !warnings.isEmpty {
                writer.key("warnings")
                writer.strings(warnings)
            }
            if !infos.isEmpty {
                writer.key("infos")
                writer.strings(infos)
            }
            writer.endObject()
        }
    }
}

/// A refusal in Prometheus' terms.
package struct APIError: Error, Sendable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        case badData = "bad_data"
        case execution
        case timeout
        case canceled
        case internalError = "internal"
        case unavailable
        case notFound = "not_found"
        case notAcceptable = "not_acceptable"

        package var status: Int {
            switch self {
            case .badData: 400
            case .execution: 422
            case .canceled: 499
            case .timeout, .unavailable: 503
            case .internalError: 500
            case .notFound: 404
            case .notAcceptable: 406
            }
        }
    }

    package let kind: Kind
    package let message: String

    package init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    package static func parameter(_ name: String, _ message: String) -> APIError {
        APIError(.badData, "invalid parameter \"\(name)\": \(message)")
    }

    package var description: String { message }

    package var reply: APIReply {
        .json(kind.status) { writer in
            writer.object {
                $0.key("status")
                $0.string("error")
                $0.key("errorType")
                $0.string(kind.rawValue)
                $0.key("error")
                $0.string(message)
            }
        }
    }
}
