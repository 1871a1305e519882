import CCurl
import Glibc

/// One transfer from its request to its answer. Made by the caller, then touched by the client's thread only, which is
/// what the unchecked conformance rests on (the hand-over goes through the client's lock).
final class Transfer: @unchecked Sendable {
    private let request: HTTPRequest
    private let mail: MailRequest?
    private let sftp: SFTPRequest?
    var onHeaders: (@Sendable (Int, [(name: String, value: String)]) -> Void)?
    var receive: (@Sendable (UnsafeRawBufferPointer) -> Bool)?
    var completion: (@Sendable (Result<HTTPResponse, HTTPError>) -> Void)?
    var cancelledEarly = false
    /// Called when bytes of an HTTP/2 body came; see `PollPause`.
    var onHTTP2Bytes: (() -> Void)?

    private(set) var handle: OpaquePointer?
    private var response = HTTPResponse()
    private var lists: [UnsafeMutablePointer<curl_slist>] = []
    private let errorBuffer = UnsafeMutablePointer<CChar>.allocate(capacity: Int(CURL_ERROR_SIZE))
    private var sent = 0
    private var headersDone = false
    private var isHTTP2 = false
    private var received = 0
    private var stopReason: HTTPError?

    init(request: HTTPRequest) {
        self.request = request
        mail = nil
        sftp = nil
        errorBuffer[0] = 0
    }

    init(sftp: SFTPRequest) {
        request = sftp.common
        mail = nil
        self.sftp = sftp
        errorBuffer[0] = 0
    }

    init(mail: MailRequest) {
        request = HTTPRequest("SEND", mail.url)
        self.mail = mail
        sftp = nil
        errorBuffer[0] = 0
    }

    deinit { errorBuffer.deallocate() }

    func complete(_ result: Result<HTTPResponse, HTTPError>) {
        let completion = completion
        self.completion = nil
        completion?(result)
    }

    func release() {
        for list in lists { curl_slist_free_all(list) }
        lists = []
        handle = nil
        onHTTP2Bytes = nil
    }

    /// Sets all options; an error where libcurl refuses one that matters.
    func prepare(_ handle: OpaquePointer) -> HTTPError? {
        self.handle = handle
        let easy = Easy(UnsafeMutableRawPointer(handle))
        easy.set(CURLOPT_NOSIGNAL, 1)
        easy.set(CURLOPT_ERRORBUFFER, UnsafeMutableRawPointer(errorBuffer))
        let context = Unmanaged.passUnretained(self).toOpaque()
        easy.set(CURLOPT_WRITEDATA, context)
        easy.set(CURLOPT_HEADERDATA, context)
        easy.set(CURLOPT_READDATA, context)
        easy.setCallback(CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
            guard let context, let bytes else { return 0 }
            return Transfer.from(context).take(UnsafeRawBufferPointer(start: bytes, count: size * count))
        }
        easy.setCallback(CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
            guard let context, let bytes else { return 0 }
            return Transfer.from(context).takeHeader(UnsafeRawBufferPointer(start: bytes, count: size * count))
        }
        easy.setCallback(CURLOPT_READFUNCTION) { bytes, size, count, context in
            guard let context, let bytes else { return Int(CURL_READFUNC_ABORT) }
            return Transfer.from(context).give(UnsafeMutableRawBufferPointer(start: bytes, count: size * count))
        }
        _ = kops_curl_setopt_seek(easy.raw) { context, offset, origin in
            guard let context else { return CURL_SEEKFUNC_FAIL }
            return Transfer.from(context).seek(Int(offset), origin)
        }
        easy.set(CURLOPT_SEEKDATA, context)
        setTimes(easy)
        setTLS(easy, mail?.tls ?? request.tls)
        if let mail { return prepareMail(easy, mail) }
        if let sftp { return prepareSFTP(easy, sftp) }
        return prepareHTTP(easy)
    }

    private static func from(_ context: UnsafeMutableRawPointer) -> Transfer {
        Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
    }

    private func setTimes(_ easy: Easy) {
        if let timeout = mail?.timeout ?? request.timeout {
            easy.set(CURLOPT_TIMEOUT_MS, max(1, Int(timeout.milliseconds)))
        }
        easy.set(CURLOPT_CONNECTTIMEOUT_MS, max(1, Int(request.connectTimeout.milliseconds)))
        if let limit = request.lowSpeedLimit {
            easy.set(CURLOPT_LOW_SPEED_LIMIT, limit.bytesPerSecond)
            easy.set(CURLOPT_LOW_SPEED_TIME, max(1, Int(limit.over.components.seconds)))
        }
    }

    private func setTLS(_ easy: Easy, _ tls: TLSSettings) {
        if let file = tls.caFile { easy.set(CURLOPT_CAINFO, file) }
        if let file = tls.certFile { easy.set(CURLOPT_SSLCERT, file) }
        if let file = tls.keyFile { easy.set(CURLOPT_SSLKEY, file) }
        easy.setBlob(CURLOPT_CAINFO_BLOB, tls.caPEM)
        easy.setBlob(CURLOPT_SSLCERT_BLOB, tls.certPEM)
        easy.setBlob(CURLOPT_SSLKEY_BLOB, tls.keyPEM)
        // Who names a CA trusts no other: without this the system's directory would count as well.
        if tls.caFile != nil || tls.caPEM != nil { easy.clear(CURLOPT_CAPATH) }
        if tls.insecureSkipVerify {
            easy.set(CURLOPT_SSL_VERIFYPEER, 0)
            easy.set(CURLOPT_SSL_VERIFYHOST, 0)
        }
        // A renewed CA file is noticed within a minute.
        easy.set(CURLOPT_CA_CACHE_TIMEOUT, 60)
        let versions = ["TLS10": 4, "TLS11": 5, "TLS12": 6, "TLS13": 7]
        let least = tls.minVersion.flatMap { versions[$0] } ?? 6
        let most = tls.maxVersion.flatMap { versions[$0] }.map { $0 << 16 } ?? 0
        easy.set(CURLOPT_SSLVERSION, least | most)
    }

    private func prepareHTTP(_ easy: Easy) -> HTTPError? {
        var headers = request.headers
        var url = request.url
        if let name = request.tls.serverName, let parts = URLParts(url) {
            // libcurl takes the certificate's name from the URL: put it there and connect to the real host.
            url = "\(parts.scheme)://\(name):\(parts.port)\(parts.rest)"
            easy.setList(CURLOPT_CONNECT_TO, list(["::\(parts.host):\(parts.port)"]))
            if !headers.contains(where: { $0.name.lowercased() == "host" }) {
                headers.append(("Host", parts.authority))
            }
        }
        guard easy.set(CURLOPT_URL, url) == CURLE_OK else { return HTTPError(.invalidRequest, "the URL is not valid") }
        easy.set(CURLOPT_PROTOCOLS_STR, "http,https")
        if request.followRedirects {
            easy.set(CURLOPT_FOLLOWLOCATION, 1)
            easy.set(CURLOPT_MAXREDIRS, 10)
            easy.set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https")
        }
        switch request.version {
        case .auto: easy.set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_2TLS))
        case .http1: easy.set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
        case .http2: easy.set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_2TLS))
        case .http2PriorKnowledge:
            easy.set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE))
            // libcurl 7.88 (Debian 12) fails on such a connection's second use (curl issue 10634): each gets its own.
            easy.set(CURLOPT_FRESH_CONNECT, 1)
            easy.set(CURLOPT_FORBID_REUSE, 1)
        }
        if request.decompress { easy.set(CURLOPT_ACCEPT_ENCODING, "gzip") }
        if let auth = request.basicAuth {
            easy.set(CURLOPT_HTTPAUTH, 1 /* CURLAUTH_BASIC, a macro that is not imported */)
            easy.set(CURLOPT_USERNAME, auth.user)
            easy.set(CURLOPT_PASSWORD, auth.password)
        }
        if let signature = request.awsSigV4 {
            easy.set(CURLOPT_AWS_SIGV4, signature)
            // Not signed, for proxies change it; libcurl signs every header of the list below.
            if let agent = headers.firstIndex(where: { $0.name.lowercased() == "user-agent" }) {
                easy.set(CURLOPT_USERAGENT, headers.remove(at: agent).value)
            }
            // libcurl hashes only what it holds itself, and would sign an empty body.
            let hash = "x-amz-content-sha256"
            if let body = request.body, !headers.contains(where: { $0.name.lowercased() == hash }) {
                headers.append((hash, hexadecimal(Digest.hash(.sha256, body))))
            }
        }
        // Prometheus' way: a proxy is used where the configuration names one, not because the environment does.
        easy.set(CURLOPT_PROXY, request.proxy ?? "")
        if let noProxy = request.noProxy { easy.set(CURLOPT_NOPROXY, noProxy) }
        if request.allowAddress != nil {
            _ = kops_curl_setopt_opensocket(easy.raw) { context, _, address in
                guard let context, let address else { return CURL_SOCKET_BAD }
                return Transfer.from(context).openSocket(address)
            }
            easy.set(CURLOPT_OPENSOCKETDATA, Unmanaged.passUnretained(self).toOpaque())
        }
        setMethod(easy)
        // An answer "100 Continue" is not waited for: servers here are near and small. libcurl 7.88 would sign this line
        // without sending it, so a signed request goes without it.
        var lines = request.awsSigV4 == nil ? ["Expect:"] : []
        for header in headers {
            if (header.name + header.value).utf8.contains(where: { $0 == 10 || $0 == 13 || $0 == 0 }) {
                return HTTPError(.invalidRequest, "the header \(header.name) has a line break in it")
            }
            lines.append(header.value.isEmpty ? "\(header.name);" : "\(header.name): \(header.value)")
        }
        easy.setList(CURLOPT_HTTPHEADER, list(lines))
        return nil
    }

    private func setMethod(_ easy: Easy) {
        let length = request.body?.count ?? request.bodyLength
        let hasBody = request.body != nil || request.bodySource != nil
        switch (request.method, hasBody) {
        case ("GET", false): easy.set(CURLOPT_HTTPGET, 1)
        case ("HEAD", _): easy.set(CURLOPT_NOBODY, 1)
        case ("POST", _):
            easy.set(CURLOPT_POST, 1)
            if hasBody {
                if let length { easy.setOffset(CURLOPT_POSTFIELDSIZE_LARGE, length) }
            } else {
                easy.setOffset(CURLOPT_POSTFIELDSIZE_LARGE, 0)
            }
        case (let method, true):
            easy.set(CURLOPT_UPLOAD, 1)
            easy.set(CURLOPT_CUSTOMREQUEST, method)
            if let length { easy.setOffset(CURLOPT_INFILESIZE_LARGE, length) }
        case (let method, false): easy.set(CURLOPT_CUSTOMREQUEST, method)
        }
    }

    private func prepareMail(_ easy: Easy, _ mail: MailRequest) -> HTTPError? {
        let url = mail.helloName.map { "\(mail.url)/\($0)" } ?? mail.url
        guard easy.set(CURLOPT_URL, url) == CURLE_OK else { return HTTPError(.invalidRequest, "the URL is not valid") }
        easy.set(CURLOPT_PROTOCOLS_STR, "smtp,smtps")
        easy.set(CURLOPT_PROXY, "")
        switch mail.startTLS {
        case .never: easy.set(CURLOPT_USE_SSL, Int(CURLUSESSL_NONE.rawValue))
        case .ifOffered: easy.set(CURLOPT_USE_SSL, Int(CURLUSESSL_TRY.rawValue))
        case .required: easy.set(CURLOPT_USE_SSL, Int(CURLUSESSL_ALL.rawValue))
        }
        if let user = mail.user { easy.set(CURLOPT_USERNAME, user) }
        if let password = mail.password { easy.set(CURLOPT_PASSWORD, password) }
        easy.set(CURLOPT_MAIL_FROM, "<\(mail.from)>")
        easy.setList(CURLOPT_MAIL_RCPT, list(mail.recipients.map { "<\($0)>" }))
        easy.set(CURLOPT_UPLOAD, 1)
        easy.setOffset(CURLOPT_INFILESIZE_LARGE, mail.message.count)
        return nil
    }

    func list(_ lines: [String]) -> UnsafeMutablePointer<curl_slist>? {
        var head: UnsafeMutablePointer<curl_slist>?
        for line in lines { head = curl_slist_append(head, line) ?? head }
        if let head { lists.append(head) }
        return head
    }

    // MARK: what libcurl calls

    private func take(_ bytes: UnsafeRawBufferPointer) -> Int {
        announceHeaders()
        received += bytes.count
        if isHTTP2 { onHTTP2Bytes?() }
        if let receive {
            if receive(bytes) { return bytes.count }
            stopReason = HTTPError(.interrupted, "the receiver ended the transfer")
            return 0
        }
        if received > request.maxBodyBytes {
            stopReason = HTTPError(.bodyTooLarge, "the body is larger than \(request.maxBodyBytes) bytes")
            return 0
        }
        if response.body.isEmpty { reserveBody(atLeast: bytes.count) }
        response.body.append(contentsOf: bytes)
        return bytes.count
    }

    /// Room for the whole body at once, where the server said how much it is and that is credible.
    private func reserveBody(atLeast count: Int) {
        let length = response.header("content-length").flatMap { Int($0) } ?? 0
        response.body.reserveCapacity(min(max(count, length), request.maxBodyBytes, 16 << 20))
    }

    private func announceHeaders() {
        guard !headersDone else { return }
        headersDone = true
        if let handle {
            var status = 0
            _ = kops_curl_getinfo_long(UnsafeMutableRawPointer(handle), CURLINFO_RESPONSE_CODE, &status)
            response.status = status
            var version = 0
            _ = kops_curl_getinfo_long(UnsafeMutableRawPointer(handle), CURLINFO_HTTP_VERSION, &version)
            isHTTP2 = version >= Int(CURL_HTTP_VERSION_2_0)
        }
        onHeaders?(response.status, response.headers)
    }

    private func takeHeader(_ bytes: UnsafeRawBufferPointer) -> Int {
        var line = bytes
        while let last = line.last, last == 13 || last == 10 { line = .init(rebasing: line.dropLast()) }
        if line.starts(with: "HTTP/".utf8) {
            response.headers.removeAll(keepingCapacity: true)
        } else if let colon = line.firstIndex(of: UInt8(ascii: ":")) {
            if response.headers.count >= 1000 { return bytes.count }
            let name = String(decoding: line[..<colon], as: UTF8.self).lowercased()
            var value = line[(colon + 1)...]
            while let first = value.first, first == 32 || first == 9 { value = value.dropFirst() }
            response.headers.append((name, String(decoding: value, as: UTF8.self)))
            if name == "content-length", receive == nil, let n = Int(response.headers[response.headers.count - 1].value)
            {
                response.body.reserveCapacity(min(max(0, n), request.maxBodyBytes, 16 << 20))
            }
        }
        return bytes.count
    }

    private func give(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
        let body = mail?.message ?? request.body
        if let body {
            let n = min(buffer.count, body.count - sent)
            body.withUnsafeBytes { raw in
                if n > 0 { buffer.copyMemory(from: .init(rebasing: raw[sent..<sent + n])) }
            }
            sent += n
            return n
        }
        guard let source = request.bodySource else { return 0 }
        do {
            let n = try source(buffer)
            sent += n
            return n
        } catch {
            stopReason = HTTPError(.interrupted, "the body could not be read: \(error)")
            return Int(CURL_READFUNC_ABORT)
        }
    }

    private func seek(_ offset: Int, _ origin: Int32) -> Int32 {
        guard origin == SEEK_SET, let body = mail?.message ?? request.body, offset >= 0, offset <= body.count else {
            return CURL_SEEKFUNC_CANTSEEK
        }
        sent = offset
        return CURL_SEEKFUNC_OK
    }

    private func openSocket(_ address: UnsafeMutablePointer<curl_sockaddr>) -> curl_socket_t {
        var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        let length = address.pointee.addrlen
        let named = withUnsafePointer(to: &address.pointee.addr) {
            getnameinfo($0, length, &host, socklen_t(host.count), nil, 0, NI_NUMERICHOST)
        }
        let text = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        if named == 0, let allow = request.allowAddress, allow(text) {
            return socket(address.pointee.family, address.pointee.socktype, address.pointee.protocol)
        }
        stopReason = HTTPError(.refusedAddress, "connecting to \(text) is not allowed")
        return CURL_SOCKET_BAD
    }

    // MARK: the end

    func result(_ code: CURLcode) -> Result<HTTPResponse, HTTPError> {
        guard let handle else { return .failure(HTTPError(.cancelled, "the request was cancelled")) }
        let raw = UnsafeMutableRawPointer(handle)
        announceHeaders()
        var wire: curl_off_t = 0
        _ = kops_curl_getinfo_off(raw, CURLINFO_SIZE_DOWNLOAD_T, &wire)
        response.bytesReceived = Int(wire)
        var micros: curl_off_t = 0
        _ = kops_curl_getinfo_off(raw, CURLINFO_TOTAL_TIME_T, &micros)
        response.seconds = Double(micros) / 1e6
        var version = 0
        _ = kops_curl_getinfo_long(raw, CURLINFO_HTTP_VERSION, &version)
        response.version = version >= Int(CURL_HTTP_VERSION_2_0) ? 2 : 1
        var url: UnsafePointer<CChar>?
        _ = kops_curl_getinfo_string(raw, CURLINFO_EFFECTIVE_URL, &url)
        if let url { response.effectiveURL = String(cString: url) }
        if code == CURLE_OK { return .success(response) }
        let partial = response.status > 0 || received > 0 ? response : nil
        if let stopReason {
            let error = HTTPError(stopReason.kind, stopReason.message, curlCode: Int32(code.rawValue), partial: partial)
            return .failure(error)
        }
        let detail = errorBuffer[0] == 0 ? String(cString: curl_easy_strerror(code)) : String(cString: errorBuffer)
        let message = "\(redactURL(mail?.url ?? request.url, hidesPath: mail == nil && request.hidesPath)): \(detail)"
        return .failure(
            HTTPError(Transfer.kind(of: code), message, curlCode: Int32(code.rawValue), partial: partial))
    }

    private static func kind(of code: CURLcode) -> HTTPError.Kind {
        switch code {
        case CURLE_URL_MALFORMAT, CURLE_UNSUPPORTED_PROTOCOL, CURLE_NOT_BUILT_IN: .invalidRequest
        case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY: .resolve
        case CURLE_COULDNT_CONNECT: .connect
        case CURLE_OPERATION_TIMEDOUT: .timeout
        case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM, CURLE_SSL_CACERT_BADFILE,
            CURLE_SSL_CIPHER, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_ENGINE_NOTFOUND, CURLE_USE_SSL_FAILED:
            .tls
        case CURLE_BAD_CONTENT_ENCODING, CURLE_WRITE_ERROR: .badEncoding
        case CURLE_LOGIN_DENIED, CURLE_AUTH_ERROR: .authentication
        case CURLE_PARTIAL_FILE, CURLE_RECV_ERROR, CURLE_SEND_ERROR, CURLE_GOT_NOTHING, CURLE_HTTP2, CURLE_HTTP2_STREAM:
            .interrupted
        default: .protocolError
        }
    }
}

/// libcurl's options by their kind of value.
struct Easy {
    let raw: UnsafeMutableRawPointer

    init(_ raw: UnsafeMutableRawPointer) { self.raw = raw }

    func set(_ option: CURLoption, _ value: Int) { _ = kops_curl_setopt_long(raw, option, value) }

    func setOffset(_ option: CURLoption, _ value: Int) { _ = kops_curl_setopt_off(raw, option, curl_off_t(value)) }

    func set(_ option: CURLoption, _ value: UnsafeMutableRawPointer) {
        _ = kops_curl_setopt_pointer(raw, option, value)
    }

    @discardableResult
    func set(_ option: CURLoption, _ value: String) -> CURLcode { kops_curl_setopt_string(raw, option, value) }

    func clear(_ option: CURLoption) { _ = kops_curl_setopt_pointer(raw, option, nil) }

    func setList(_ option: CURLoption, _ list: UnsafeMutablePointer<curl_slist>?) {
        _ = kops_curl_setopt_pointer(raw, option, list)
    }

    func setCallback(_ option: CURLoption, _ function: kops_curl_data_fn) {
        _ = kops_curl_setopt_data(raw, option, function)
    }

    func setBlob(_ option: CURLoption, _ text: String?) {
        guard var text else { return }
        text.withUTF8 { bytes in
            var blob = curl_blob()
            blob.data = UnsafeMutableRawPointer(mutating: bytes.baseAddress)
            blob.len = bytes.count
            blob.flags = UInt32(CURL_BLOB_COPY)
            _ = kops_curl_setopt_pointer(raw, option, &blob)
        }
    }
}

/// The pieces of an http(s) URL that `serverName` needs.
private struct URLParts {
    var scheme: String
    var host: String
    var port: Int
    var authority: String
    var rest: String

    init?(_ url: String) {
        guard let handle = curl_url() else { return nil }
        defer { curl_url_cleanup(handle) }
        guard curl_url_set(handle, CURLUPART_URL, url, 0) == CURLUE_OK else { return nil }
        func part(_ which: CURLUPart, _ flags: Int32 = 0) -> String? {
            var text: UnsafeMutablePointer<CChar>?
            guard curl_url_get(handle, which, &text, UInt32(flags)) == CURLUE_OK, let text else { return nil }
            defer { curl_free(text) }
            return String(cString: text)
        }
        guard let scheme = part(CURLUPART_SCHEME), let host = part(CURLUPART_HOST),
            let port = part(CURLUPART_PORT, CURLU_DEFAULT_PORT).flatMap({ Int($0) })
        else { return nil }
        self.scheme = scheme
        self.host = host
        self.port = port
        authority = part(CURLUPART_PORT).map { "\(host):\($0)" } ?? host
        rest = (part(CURLUPART_PATH) ?? "/") + (part(CURLUPART_QUERY).map { "?\($0)" } ?? "")
    }
}
