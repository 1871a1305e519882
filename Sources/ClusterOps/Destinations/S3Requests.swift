import Glibc
import Platform

/// A request to the bucket, before it is signed.
struct S3Request: Sendable {
    var method: String
    /// Nil for the bucket itself.
    var key: String?
    var query: [(String, String)]
    var headers: [(name: String, value: String)] = []
    /// Lower-case hexadecimal SHA-256 of the body; that of nothing unless set.
    var bodySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    var body: [UInt8]?
    /// Made anew for each attempt.
    var source: (@Sendable () -> @Sendable (UnsafeMutableRawBufferPointer) throws -> Int)?
    var length: Int?
    var maxBodyBytes = 16 << 20

    init(_ method: String, key: String? = nil, query: [(String, String)] = []) {
        self.method = method
        self.key = key
        self.query = query
    }
}

/// What a store says when it refuses.
struct S3Problem {
    var status: Int
    var code = ""
    var message = ""

    init(_ answer: HTTPResponse) {
        status = answer.status
        guard let root = XMLElement.parse(answer.body), root.name == "Error" else { return }
        code = root.text("Code") ?? ""
        message = root.text("Message") ?? ""
    }

    var text: String {
        var parts = ["\(status)"]
        if !code.isEmpty { parts.append(code) }
        if !message.isEmpty { parts.append("(\(message.prefix(200)))") }
        return parts.joined(separator: " ")
    }

    var isTemporary: Bool {
        [408, 429, 500, 502, 503, 504].contains(status)
            || [
                "RequestTimeout", "SlowDown", "InternalError", "OperationAborted", "ServiceUnavailable",
                "ConditionalRequestConflict",
            ].contains(code)
    }

    var hint: String {
        switch (status, code) {
        case (_, "RequestTimeTooSkewed"): ": the clock of this machine is wrong"
        case (_, "InvalidAccessKeyId"): ": the access key is not known there"
        case (_, "SignatureDoesNotMatch"): ": the secret key does not fit the access key"
        case (_, "NoSuchBucket"): ": make the bucket first"
        case (301, _), (307, _): ": the bucket lies in another region or at another endpoint"
        default: ""
        }
    }
}

extension S3Destination {
    var label: String { "\(name) (\(location))" }

    /// The answer to a request that is tried again where that may help. Statuses in `good` are answers too.
    func send(_ what: String, _ request: S3Request, good: Set<Int> = []) async throws -> HTTPResponse {
        try await retry.run { () async throws -> Result<HTTPResponse, TransferFailure> in
            let (answer, failure) = try await self.attempt(what, request)
            if let answer, good.contains(answer.status) { return .success(answer) }
            if let failure { return .failure(failure) }
            guard let answer else { throw BackupError(.destination, "\(self.label): no answer") }
            return .success(answer)
        }
    }

    /// The document that answers a request.
    func xml(_ what: String, _ request: S3Request) async throws -> XMLElement {
        let answer = try await send(what, request)
        guard let root = XMLElement.parse(answer.body) else {
            throw BackupError(
                .destination, "\(label): the answer is no S3 document: is \(options.endpoint) an S3 endpoint?")
        }
        return root
    }

    /// One attempt: the answer, if one came, and why it is none to be content with.
    func attempt(
        _ what: String, _ request: S3Request,
        onHeaders: (@Sendable (Int, [(name: String, value: String)]) -> Void)? = nil,
        receive: (@Sendable (UnsafeRawBufferPointer) -> Bool)? = nil
    ) async throws -> (HTTPResponse?, TransferFailure?) {
        let signed = try signed(request)
        do throws(HTTPError) {
            let answer: HTTPResponse
            if let receive {
                answer = try await http.stream(signed, onHeaders: onHeaders, receive: receive)
            } else {
                answer = try await http.send(signed)
            }
            if answer.status / 100 == 2 { return (answer, nil) }
            return (answer, failure(what, answer))
        } catch {
            switch error.kind {
            case .cancelled: throw BackupError(.cancelled, "\(label): \(what) was cancelled")
            case .bodyTooLarge: throw BackupError(.damaged, "\(label): \(what): it is larger than expected")
            default: break
            }
            let final: Set<HTTPError.Kind> = [.invalidRequest, .tls, .refusedAddress, .authentication]
            return (
                nil,
                TransferFailure(
                    error: BackupError(.destination, "\(label): \(what): \(error.message)"),
                    mayHelpAgain: !final.contains(error.kind))
            )
        }
    }

    private func failure(_ what: String, _ answer: HTTPResponse) -> TransferFailure {
        let problem = S3Problem(answer)
        let missing = answer.status == 404 && problem.code != "NoSuchBucket"
        let text = "\(label): \(what): \(problem.text)\(problem.hint)"
        let wish = answer.header("retry-after").flatMap { Int($0) }.map { Duration.seconds(max(0, $0)) }
        return TransferFailure(
            error: BackupError(missing ? .notFound : .destination, text), mayHelpAgain: problem.isTemporary, after: wish
        )
    }

    // MARK: making requests

    private func signed(_ request: S3Request) throws -> HTTPRequest {
        var signed = HTTPRequest(request.method, try url(request))
        signed.followRedirects = false
        signed.decompress = false
        signed.maxBodyBytes = request.maxBodyBytes
        signed.connectTimeout = .seconds(15)
        signed.lowSpeedLimit = (1, .milliseconds(options.timeout))
        signed.proxy = options.proxy
        signed.tls.caFile = options.caFile
        signed.tls.insecureSkipVerify = options.insecureSkipVerify
        signed.version = .http1
        signed.headers = request.headers + [("x-amz-content-sha256", request.bodySHA256)]
        if let token = try secret(options.sessionTokenFile) { signed.headers.append(("x-amz-security-token", token)) }
        if let source = request.source {
            signed.bodySource = source()
            signed.bodyLength = request.length
        } else {
            signed.body = request.body
        }
        if let access = try secret(options.accessKeyFile), let key = try secret(options.secretKeyFile) {
            signed.basicAuth = (access, key)
            signed.awsSigV4 = "aws:amz:\(options.region):s3"
        }
        return signed
    }

    private func secret(_ file: String?) throws -> String? {
        guard let file else { return nil }
        let text: String
        do {
            text = try FileSystem.readText(file, maxBytes: 64 << 10)
        } catch {
            throw BackupError(.invalid, "\(name): \(error)")
        }
        let value = text.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
        guard !value.isEmpty else { throw BackupError(.invalid, "\(name): \(file) is empty") }
        return value
    }

    /// Paths and queries are written as they are signed: encoded to the last byte, parameters sorted by name.
    private func url(_ request: S3Request) throws -> String {
        var endpoint = Substring(options.endpoint)
        while endpoint.hasSuffix("/") { endpoint = endpoint.dropLast() }
        let halves = endpoint.split(separator: "/", omittingEmptySubsequences: false)
        guard halves.count == 3, halves[1].isEmpty, !halves[2].isEmpty else {
            throw BackupError(.invalid, "\(name): \(options.endpoint) is no endpoint such as https://s3.example.com")
        }
        var path = "/"
        var host = String(halves[2])
        if options.pathStyle {
            path += percentEncoded(options.bucket)
            if request.key != nil { path += "/" }
        } else {
            host = options.bucket + "." + host
        }
        if let key = request.key {
            path += (options.keyPrefix + key).split(separator: "/").map { percentEncoded(String($0)) }
                .joined(separator: "/")
        }
        let query = request.query.sorted { $0.0 < $1.0 }.map {
            "\(percentEncoded($0.0))=\(percentEncoded($0.1))"
        }
        return "\(halves[0])//\(host)\(path)" + (query.isEmpty ? "" : "?" + query.joined(separator: "&"))
    }

}
