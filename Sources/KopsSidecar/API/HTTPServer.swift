import HTTPTypes
import Hummingbird
import HummingbirdCore
package import Logging
import NIOCore
import NIOPosix
import Platform
package import ServiceLifecycle

/// How the HTTP server listens.
package struct HTTPServerOptions: Sendable {
    package var host: String
    package var port: Int
    /// Larger bodies are refused.
    package var maxBodyBytes = 64 << 20
    package var maxConnections = 512

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }
}

/// The HTTP server as a service: Hummingbird around a table of routes. `onRunning` gets the port that is listened on.
package func makeHTTPServer(
    _ routes: RouteTable, access: WebAccess, options: HTTPServerOptions, log: Logger,
    onRunning: @escaping @Sendable (Int) async -> Void
) -> any Service {
    let loop = MultiThreadedEventLoopGroup.singleton.any()
    let executor = LoopExecutor(loop)
    let responder = CallbackResponder { (request: Request, context: BasicRequestContext) -> Response in
        try await respond(to: request, routes: routes, options: options, on: loop, executor)
    }
    let application = Application(
        responder: responder,
        server: HTTPServerBuilder { responder in
            SecuredChannel(
                base: HTTP1Channel(responder: responder, configuration: .init(idleTimeout: .seconds(120))),
                tls: { access.tls })
        },
        configuration: ApplicationConfiguration(
            address: .hostname(options.host, port: options.port), serverName: nil,
            availableConnectionsDelegate: MaximumAvailableConnections(options.maxConnections)),
        onServerRunning: { channel in await onRunning(channel.localAddress?.port ?? options.port) },
        eventLoopGroupProvider: .shared(loop),
        logger: log)
    return ServiceOnExecutor(service: application, executor: executor)
}

private func respond(
    to original: Request, routes: RouteTable, options: HTTPServerOptions, on loop: any EventLoop,
    _ executor: LoopExecutor
) async throws -> Response {
    var request = original
    let cancellation = Cancellation()
    let body: ByteBuffer
    do {
        body = try await request.collectBody(upTo: options.maxBodyBytes)
    } catch is NIOTooManyBytesError {
        return response(.text(413, "the request's body is larger than \(options.maxBodyBytes) bytes\n"), head: false)
    }
    let translated: APIRequest
    do {
        translated = try apiRequest(request, body: body, cancellation: cancellation)
    } catch {
        return response(error.reply, head: false)
    }
    let (stream, continuation) = AsyncStream<APIReply?>.makeStream()
    let work = Task(executorPreference: executor) {
        continuation.yield(await compressed(routes.answer(translated), for: translated))
        continuation.finish()
    }
    let patience = loop.scheduleTask(in: .seconds(1)) { _ = continuation.yield(nil) }
    defer { patience.cancel() }
    var replies = stream.makeAsyncIterator()
    let isHead = request.method == .head
    if let first = await replies.next(), let reply = first { return response(reply, head: isHead) }
    // It takes long: from now on the client's going away ends the work. That costs the connection its keep-alive, which
    // is why quick answers do without.
    do {
        return try await request.body.consumeWithInboundCloseHandler { _ in
            while let next = await replies.next() {
                if let reply = next { return response(reply, head: isHead) }
            }
            return response(.text(503, "stopping\n"), head: isHead)
        } onInboundClosed: {
            cancellation.cancel()
            work.cancel()
        }
    } catch {
        cancellation.cancel()
        work.cancel()
        throw error
    }
}

private func apiRequest(
    _ request: Request, body: ByteBuffer, cancellation: Cancellation
) throws(APIError) -> APIRequest {
    let target = request.head.path ?? "/"
    let parts = target.utf8.split(separator: UInt8(ascii: "?"), maxSplits: 1, omittingEmptySubsequences: false)
    var parameters = parts.count > 1 ? try parseForm(parts[1]) : []
    let bytes = Array(body.readableBytesView)
    let contentType = request.headers[.contentType] ?? ""
    if request.method == .post, contentType.hasPrefix("application/x-www-form-urlencoded") {
        parameters = try parseForm(bytes) + parameters
    }
    var headers = request.headers.map { (name: $0.name.rawName.lowercased(), value: $0.value) }
    if let host = request.head.authority { headers.append(("host", host)) }
    return APIRequest(
        method: request.method.rawValue, path: parts.first.map { String(Substring($0)) } ?? "/", parameters: parameters,
        headers: headers, body: bytes, cancellation: cancellation)
}

/// A small body is compressed whole, a large one as it leaves: neither is held twice.
private func compressed(_ reply: APIReply, for request: APIRequest) async -> APIReply {
    guard acceptsGzip(request.header("accept-encoding") ?? ""),
        !reply.headers.contains(where: { $0.name == "Content-Encoding" })
    else { return reply }
    var reply = reply
    switch reply.body {
    case .bytes(let bytes) where bytes.count <= 1400: return reply
    case .bytes(let bytes) where bytes.count < 1 << 20:
        guard let packed = try? await WorkerPool.shared.run({ try Gzip.compress(bytes, level: 1) }) else {
            return reply
        }
        reply.body = .bytes(packed)
    case .bytes(let bytes):
        let position = Lock(0)
        guard let packed = try? GzipPieces(level: 1, source: { position.withLock { slice(bytes, &$0) } }) else {
            return reply
        }
        reply.body = .pieces { try packed.next() }
    case .pieces(let next):
        guard let packed = try? GzipPieces(level: 1, source: next) else { return reply }
        reply.body = .pieces { try packed.next() }
    }
    reply.headers.append(("Content-Encoding", "gzip"))
    reply.headers.append(("Vary", "Accept-Encoding"))
    return reply
}

private func slice(_ bytes: [UInt8], _ position: inout Int) -> [UInt8]? {
    if position == bytes.count { return nil }
    let begin = position
    position = min(bytes.count, begin + (1 << 18))
    return Array(bytes[begin..<position])
}

private func acceptsGzip(_ header: String) -> Bool {
    header.split(separator: ",").contains { part in
        let pieces = part.split(separator: ";").map { $0.trimmingPrefix(while: { $0 == " " }) }
        guard let name = pieces.first, name == "gzip" || name == "*" else { return false }
        return !pieces.dropFirst().contains {
            $0.hasPrefix("q=0") && !$0.dropFirst(3).contains { ("1"..."9").contains($0) }
        }
    }
}

private func response(_ reply: APIReply, head: Bool) -> Response {
    var headers = HTTPFields()
    headers[.contentType] = reply.contentType
    for (name, value) in reply.headers {
        if let field = HTTPField.Name(name) { headers.append(HTTPField(name: field, value: value)) }
    }
    let status = HTTPResponse.Status(code: reply.status)
    if reply.status == 204 { return Response(status: status, headers: headers) }
    switch reply.body {
    case .bytes(let bytes):
        let body = ResponseBody(byteBuffer: ByteBuffer(bytes: bytes))
        let answer = Response(status: status, headers: headers, body: body)
        return head ? answer.createHeadResponse() : answer
    case .pieces(let next):
        if head { return Response(status: status, headers: headers) }
        return Response(
            status: status, headers: headers,
            body: ResponseBody { writer in
                while let piece = try await WorkerPool.shared.run(next) {
                    try await writer.write(ByteBuffer(bytes: piece))
                }
                try await writer.finish(nil)
            })
    }
}
