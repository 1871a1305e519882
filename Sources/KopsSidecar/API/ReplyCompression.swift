import Platform

/// The reply as gzip where the client takes that and it pays. A small body is compressed whole, a large one as it leaves:
/// neither is held twice.
func compressed(_ reply: APIReply, for request: APIRequest) async -> APIReply {
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
