import NIOCore
import NIOHTTP1

extension APIRequest {
    /// What an HTTP request asks, decoded. Throws where its parameters cannot be.
    init(
        _ head: HTTPRequestHead, _ content: ByteBuffer, _ cancellation: Cancellation, client: String = ""
    ) throws(APIError) {
        let target = Self.local(head.uri)
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
            method: head.method.rawValue, path: String(Substring(mark.map { target[..<$0] } ?? target)),
            parameters: parameters, headers: head.headers.map { (name: $0.name.lowercased(), value: $0.value) },
            body: bytes, cancellation: cancellation)
        self.client = client
    }

    /// The target from its path on: what goes through a proxy says the server before.
    private static func local(_ target: String) -> Substring.UTF8View {
        let all = target.utf8[...]
        if all.first == UInt8(ascii: "/") { return all }
        for scheme in ["http://", "https://"] where target.lowercased().hasPrefix(scheme) {
            let server = all.dropFirst(scheme.utf8.count)
            return server.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") }.map { server[$0...] }
                ?? "/".utf8[...]
        }
        return all
    }
}
