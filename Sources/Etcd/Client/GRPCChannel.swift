import Platform

/// gRPC calls to etcd over an HTTP client. Thread-safe.
struct GRPCChannel: Sendable {
    let http: HTTPClient
    let tls: TLSSettings

    /// One message there, one back.
    func unary(_ endpoint: String, _ path: String, _ message: [UInt8], timeout: Duration) async throws(EtcdError)
        -> [UInt8]
    {
        var request = request(endpoint, path)
        request.body = GRPCFrame.encode(message)
        request.timeout = timeout
        request.connectTimeout = min(timeout, .seconds(5))
        let result: Result<HTTPResponse, HTTPError>
        do { result = .success(try await http.send(request)) } catch { result = .failure(error) }
        let response = try GRPCChannel.settle(result, endpoint)
        var answer: [UInt8]?
        do {
            var reader = GRPCFrameReader(maxMessageBytes: request.maxBodyBytes)
            try response.body.withUnsafeBytes { bytes in try reader.feed(bytes) { answer = $0 } }
        } catch let error as EtcdError {
            throw EtcdError(error.code, error.message, endpoint: endpoint)
        } catch {
            throw EtcdError(.damaged, "\(error)", endpoint: endpoint)
        }
        guard let answer else { throw EtcdError(.damaged, "an answer without a message", endpoint: endpoint) }
        return answer
    }

    /// One message there, many back. `receive` runs on the HTTP client's thread; what it throws ends the call and is thrown.
    /// The stream stays open towards the server when `keepOpen` is set (etcd's Watch ends with it otherwise).
    func serverStream(
        _ endpoint: String, _ path: String, _ message: [UInt8], maxMessageBytes: Int, keepOpen: Bool = false,
        idleLimit: Duration?, receive: @escaping @Sendable (inout [UInt8]) throws -> Void
    ) async throws {
        var request = request(endpoint, path)
        let frame = GRPCFrame.encode(message)
        if keepOpen {
            let sent = Lock(0)
            request.bodySource = { buffer in
                sent.withLock { sent in
                    // Afterwards the upload rests: libcurl's CURL_READFUNC_PAUSE.
                    if sent == frame.count { return 0x1000_0001 }
                    let n = min(buffer.count, frame.count - sent)
                    buffer.copyBytes(from: frame[sent..<sent + n])
                    sent += n
                    return n
                }
            }
        } else {
            request.body = frame
        }
        if let idleLimit { request.lowSpeedLimit = (1, idleLimit) }
        struct State {
            var reader: GRPCFrameReader
            var problem: (any Error)?
        }
        let state = Lock(State(reader: GRPCFrameReader(maxMessageBytes: maxMessageBytes)))
        // Status and content type are known before the first byte: an HTML page is not taken for messages.
        let isGRPC = Lock(false)
        let result: Result<HTTPResponse, HTTPError>
        do {
            result = .success(
                try await http.stream(
                    request,
                    onHeaders: { status, headers in
                        let type = headers.first { $0.name == "content-type" }?.value ?? ""
                        isGRPC.withLock { $0 = status == 200 && type.hasPrefix("application/grpc") }
                    },
                    receive: { bytes in
                        guard isGRPC.withLock({ $0 }) else { return true }
                        return state.withLock { state in
                            do {
                                try state.reader.feed(bytes, receive)
                                return true
                            } catch {
                                state.problem = error
                                return false
                            }
                        }
                    }))
        } catch {
            result = .failure(error)
        }
        if let problem = state.withLock({ $0.problem }) {
            if let problem = problem as? EtcdError, problem.endpoint == nil {
                throw EtcdError(problem.code, problem.message, endpoint: endpoint)
            }
            throw problem
        }
        _ = try GRPCChannel.settle(result, endpoint)
        guard state.withLock({ $0.reader.isWhole }) else {
            throw EtcdError(.interrupted, "the stream ended inside a message", endpoint: endpoint)
        }
    }

    private func request(_ endpoint: String, _ path: String) -> HTTPRequest {
        var request = HTTPRequest("POST", endpoint + path)
        request.headers = [("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "kops-sidecar")]
        request.tls = tls
        request.version = endpoint.hasPrefix("https:") ? .http2 : .http2PriorKnowledge
        request.followRedirects = false
        request.decompress = false
        return request
    }

    /// Decides what became of a call. A server may answer before it has read the whole request, which libcurl takes for a
    /// broken stream: where a `grpc-status` came, it counts.
    private static func settle(_ result: Result<HTTPResponse, HTTPError>, _ endpoint: String) throws(EtcdError)
        -> HTTPResponse
    {
        let response: HTTPResponse
        switch result {
        case .success(let whole): response = whole
        case .failure(let error):
            guard error.kind == .interrupted, let partial = error.partial, partial.header("grpc-status") != nil else {
                throw EtcdError.transport(error, endpoint)
            }
            response = partial
        }
        guard response.status == 200, response.header("content-type")?.hasPrefix("application/grpc") == true else {
            throw EtcdError(
                .unsupported, "answered HTTP \(response.status), not gRPC: is this etcd's client port?",
                endpoint: endpoint)
        }
        guard let status = response.header("grpc-status").flatMap({ Int($0) }) else {
            throw EtcdError(.interrupted, "the answer ended without a status", endpoint: endpoint)
        }
        guard status == 0 else {
            let message = unescape(response.header("grpc-message") ?? "")
            throw EtcdError.status(status, message, endpoint: endpoint)
        }
        return response
    }

    /// gRPC's percent-encoding of messages.
    static func unescape(_ text: String) -> String {
        let bytes = Array(text.utf8)
        var out: [UInt8] = []
        var i = 0
        while i < bytes.count {
            if bytes[i] == UInt8(ascii: "%"), i + 2 < bytes.count,
                let value = UInt8(String(decoding: bytes[(i + 1)...(i + 2)], as: UTF8.self), radix: 16)
            {
                out.append(value)
                i += 3
            } else {
                out.append(bytes[i])
                i += 1
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}

extension EtcdError {
    static func transport(_ error: HTTPError, _ endpoint: String) -> EtcdError {
        let code: Code =
            switch error.kind {
            case .resolve, .connect: .connect
            case .tls: .tls
            case .timeout: .timeout
            case .cancelled: .cancelled
            case .interrupted: error.partial?.status == 200 ? .interrupted : .connect
            default: .other
            }
        // libcurl's send and receive errors, of the connection and of HTTP/2 on it: what a refused client certificate looks
        // like from here, and which of them is a matter of who is quicker.
        let hint =
            [16, 55, 56, 92].contains(error.curlCode) && error.partial == nil && endpoint.hasPrefix("https:")
            ? " (the connection was closed: is the client certificate missing, expired or of another CA?)" : ""
        return EtcdError(code, error.message + hint, endpoint: endpoint)
    }
}
