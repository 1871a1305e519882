import CCurl

/// One exchange with an SFTP server, through libcurl and libssh2. The server's key is checked against a known_hosts file or a
/// fingerprint; a request that names neither is refused.
package struct SFTPRequest: Sendable {
    package enum Action: Sendable {
        /// The directory as the server's `ls -l` writes it; the path ends with a slash.
        case list
        case download
        /// Makes missing directories. The file is new or replaced, with mode 0600.
        case upload
        /// Only `commands`.
        case none
    }

    /// `sftp://host:port/path`, the path percent-encoded.
    package var url: String
    package var action: Action
    package var user = ""
    package var password: String?
    package var privateKeyFile: String?
    package var passphrase: String?
    /// OpenSSH's format.
    package var knownHostsFile: String?
    /// Of the host's key, in base64 without padding, as `ssh-keygen -l` prints it behind `SHA256:`.
    package var hostKeySHA256: String?
    /// libcurl's quote commands (`rm "/path"`, `rename "/a" "/b"`), done before the transfer; one that begins with `*` may fail.
    package var commands: [String] = []
    /// As in `HTTPRequest`.
    package var bodySource: (@Sendable (UnsafeMutableRawBufferPointer) throws -> Int)?
    package var bodyLength: Int?
    package var maxBodyBytes = 64 << 20
    package var connectTimeout: Duration = .seconds(15)
    package var timeout: Duration?
    package var lowSpeedLimit: (bytesPerSecond: Int, over: Duration)?

    package init(_ action: Action, _ url: String) {
        self.action = action
        self.url = url
    }

    /// The fields that transfers of every protocol share.
    var common: HTTPRequest {
        var request = HTTPRequest("SFTP", url)
        request.bodySource = bodySource
        request.bodyLength = bodyLength
        request.maxBodyBytes = maxBodyBytes
        request.connectTimeout = connectTimeout
        request.timeout = timeout
        request.lowSpeedLimit = lowSpeedLimit
        return request
    }
}

extension Transfer {
    func prepareSFTP(_ easy: Easy, _ sftp: SFTPRequest) -> HTTPError? {
        guard sftp.knownHostsFile != nil || sftp.hostKeySHA256 != nil else {
            return HTTPError(.invalidRequest, "no known_hosts file and no fingerprint to know the server by")
        }
        guard easy.set(CURLOPT_URL, sftp.url) == CURLE_OK else {
            return HTTPError(.invalidRequest, "the URL is not valid")
        }
        easy.set(CURLOPT_PROTOCOLS_STR, "sftp")
        easy.set(CURLOPT_PROXY, "")
        easy.set(CURLOPT_USERNAME, sftp.user)
        if let password = sftp.password { easy.set(CURLOPT_PASSWORD, password) }
        if let file = sftp.privateKeyFile {
            easy.set(CURLOPT_SSH_PRIVATE_KEYFILE, file)
            // An empty name makes libcurl derive the public key instead of looking for a file in the home directory.
            easy.set(CURLOPT_SSH_PUBLIC_KEYFILE, "")
        }
        if let passphrase = sftp.passphrase { easy.set(CURLOPT_KEYPASSWD, passphrase) }
        // CURLSSH_AUTH_PUBLICKEY 1, _PASSWORD 2, _KEYBOARD 8: macros that are not imported. Never an agent's keys.
        easy.set(
            CURLOPT_SSH_AUTH_TYPES, (sftp.privateKeyFile == nil ? 0 : 1) | (sftp.password == nil ? 0 : 2 | 8))
        if let file = sftp.knownHostsFile { easy.set(CURLOPT_SSH_KNOWNHOSTS, file) }
        if let hash = sftp.hostKeySHA256 { easy.set(CURLOPT_SSH_HOST_PUBLIC_KEY_SHA256, hash) }
        if !sftp.commands.isEmpty { easy.setList(CURLOPT_QUOTE, list(sftp.commands)) }
        switch sftp.action {
        case .list, .download: break
        case .none: easy.set(CURLOPT_NOBODY, 1)
        case .upload:
            easy.set(CURLOPT_UPLOAD, 1)
            easy.set(CURLOPT_UPLOAD_BUFFERSIZE, 512 << 10)
            easy.set(CURLOPT_FTP_CREATE_MISSING_DIRS, 1)
            easy.set(CURLOPT_NEW_FILE_PERMS, 0o600)
            easy.set(CURLOPT_NEW_DIRECTORY_PERMS, 0o700)
            if let length = sftp.bodyLength { easy.setOffset(CURLOPT_INFILESIZE_LARGE, length) }
        }
        return nil
    }
}

extension HTTPClient {
    /// One exchange with an SFTP server; the answer's `body` is what came, unless `receive` takes it (as in `stream`).
    package func sftp(
        _ request: SFTPRequest, receive: (@Sendable (UnsafeRawBufferPointer) -> Bool)? = nil
    ) async throws(HTTPError) -> HTTPResponse {
        let transfer = Transfer(sftp: request)
        transfer.receive = receive
        return try await perform(transfer)
    }
}
