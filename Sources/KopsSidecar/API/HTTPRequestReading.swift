import NIOCore
import NIOHTTP1

extension APIRequest {
    /// What an HTTP request asks, decoded. Throws where its parameters cannot be.
    init(_ head: HTTPRequestHead, _ content: ByteBuffer, _ cancellation: Cancellation) throws(APIError) {
        let target = head.uri.utf8
        let mark = target.firstIndex(of: UInt8(ascii: "?"))
        var parameters: [(name: String, value: String)] = []
        if let mark { parameters = try parseForm(target[target.index(after: mark)...]) }
        let bytes = Array(content.readableBytesView)
        if head.method == .POST,
            head.headers.first(name: "content-type")?.hasPrefix("application/x-www-form-urlencoded") == true
        {
            parameters = try parseForm(bytes) + parameters
        }
        self.init(
            method: head.method.rawValue, path: mark.map { String(head.uri[..<$0]) } ?? head.uri,
            parameters: parameters, headers: head.headers.map { (name: $0.name.lowercased(), value: $0.value) },
            body: bytes, cancellation: cancellation)
    }
}
