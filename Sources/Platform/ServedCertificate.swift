import COpenSSL
import Glibc

/// What a port shows in a TLS handshake: the truth about which certificate is in use, whatever the files say.
package enum ServedCertificate {
    /// Why no certificate was seen. One line.
    package struct Failure: Error, Sendable, CustomStringConvertible {
        package let description: String
        /// Whether nothing listens there.
        package let isRefused: Bool
    }

    /// Connects, begins a handshake and ends it; whoever issued the certificate is not asked. `cert` and `key` are PEM texts
    /// shown to a server that asks for them. Blocks for at most about twice `timeout`.
    package static func read(
        host: String, port: UInt16, cert: [UInt8]? = nil, key: [UInt8]? = nil, timeout: Duration = .seconds(5)
    ) throws(Failure) -> Certificate {
        let socket = try connect(host, port, timeout)
        defer { close(socket) }
        var raw = kops_certificate()
        let isAddress = host.allSatisfy { $0.isHexDigit || $0 == "." || $0 == ":" }
        func read(_ cert: UnsafeRawBufferPointer?, _ key: UnsafeRawBufferPointer?) -> Int32 {
            kops_tls_served(
                socket, isAddress ? nil : host, cert?.baseAddress, cert?.count ?? 0, key?.baseAddress, key?.count ?? 0,
                &raw)
        }
        let code: Int32
        if let cert, let key {
            code = cert.withUnsafeBytes { cert in key.withUnsafeBytes { read(cert, $0) } }
        } else {
            code = read(nil, nil)
        }
        switch code {
        case 1: return Certificate(raw)
        case 0: throw Failure(description: "\(host):\(port) shows no certificate", isRefused: false)
        default: throw Failure(description: "the client certificate cannot be used", isRefused: false)
        }
    }

    private static func connect(_ host: String, _ port: UInt16, _ timeout: Duration) throws(Failure) -> Int32 {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV
        var found: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &found)
        guard code == 0, let address = found else {
            throw Failure(description: "\(host): \(String(cString: gai_strerror(code)))", isRefused: false)
        }
        defer { freeaddrinfo(found) }
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let fd = socket(address.pointee.ai_family, kind, 0)
        guard fd >= 0 else { throw Failure(description: systemMessage(errno), isRefused: false) }
        let milliseconds = timeout.milliseconds
        var limit = timeval(tv_sec: Int(milliseconds / 1000), tv_usec: Int(milliseconds % 1000) * 1000)
        let size = socklen_t(MemoryLayout<timeval>.size)
        // Linux bounds connect by the time limit for sending.
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
        guard Glibc.connect(fd, address.pointee.ai_addr, address.pointee.ai_addrlen) == 0 else {
            let problem = errno
            close(fd)
            let text = problem == EINPROGRESS || problem == EAGAIN ? "no answer" : systemMessage(problem)
            throw Failure(description: "\(host):\(port): \(text)", isRefused: problem == ECONNREFUSED)
        }
        return fd
    }
}
