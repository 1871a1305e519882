import Platform

/// The reply as gzip where the client takes that and it pays. A small body is compressed whole, a large one as it leaves:
/// neither is held twice.
func compressed(_ reply: APIReply, for request: APIRequest) async -> APIReply {
    guard isToBeCompressed(reply, for: request) else { return reply }
    if case .bytes(let bytes) = reply.body, bytes.count < wholeLimit {
        return (try? await WorkerPool.shared.run { compressedHere(reply, for: request) }) ?? reply
    }
    return compressedHere(reply, for: request)
}

/// The same on the calling thread, which is a worker's: a small body then needs no hand-over of its own.
func compressedHere(_ reply: APIReply, for request: APIRequest) -> APIReply {
    guard isToBeCompressed(reply, for: request) else { return reply }
    var reply = reply
    switch reply.body {
    case .bytes(let bytes) where bytes.count < wholeLimit:
        guard let packed = try? Gzip.compress(bytes, level: 1) else { return reply }
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

private let wholeLimit = 1 << 20

private func isToBeCompressed(_ reply: APIReply, for request: APIRequest) -> Bool {
    if case .bytes(let bytes) = reply.body, bytes.count <= 1400 { return false }
    return acceptsGzip(request.header("accept-encoding") ?? "")
        && !reply.headers.contains { $0.name == "Content-Encoding" }
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
