package import Logging
import Platform

/// How the port is secured and who may ask, as the web configuration file says at the moment: the file, the certificates
/// that it names and the token files are looked at every second and read again when one has changed. What cannot be used
/// leaves everything as it was, and the log says why. Thread-safe.
package final class WebAccess: Sendable {
    private struct AccessProblem: Error, CustomStringConvertible { let description: String }

    private struct State: Sendable {
        var http: HTTPConfig
        var security: RequestSecurity
        var tls: ServerTLS?
        var stamps: [Stamp?]
    }

    /// A file that differs in none of these is taken for unchanged.
    private struct Stamp: Sendable, Equatable {
        let size: Int64
        let modified: Int64
        let inode: UInt64
    }

    private let state: Lock<State>
    private let log: Logger

    /// Throws with one line where what the configuration names cannot be used.
    package init(_ http: HTTPConfig, log: Logger) throws {
        self.log = log
        let (security, tls) = try Self.make(http)
        state = Lock(State(http: http, security: security, tls: tls, stamps: Self.stamps(http)))
    }

    /// For tests: no files, no TLS.
    package init(_ security: RequestSecurity = RequestSecurity(), log: Logger) {
        self.log = log
        state = Lock(State(http: HTTPConfig(), security: security, tls: nil, stamps: []))
    }

    var security: RequestSecurity { state.withLock { $0.security } }
    var tls: ServerTLS? { state.withLock { $0.tls } }

    /// Takes over a reloaded configuration.
    func apply(_ http: HTTPConfig) {
        var http = http
        // Where it listens was settled at the start.
        (http.host, http.port) = state.withLock { ($0.http.host, $0.http.port) }
        take(http)
    }

    /// Looks after the files until the task ends.
    func follow() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(1))
            _ = try? await WorkerPool.shared.run { self.refresh() }
        }
    }

    /// Reads the files again where one has changed.
    func refresh() {
        var (http, before) = state.withLock { ($0.http, $0.stamps) }
        let now = Self.stamps(http)
        if now == before { return }
        do {
            if let file = http.webConfigFile { http.web = try loadWebConfig(file) }
        } catch {
            state.withLock { $0.stamps = now }
            for line in error.lines { log.error("web configuration refused", metadata: ["finding": "\(line)"]) }
            return
        }
        take(http)
    }

    private func take(_ http: HTTPConfig) {
        let before = state.withLock { $0.http }
        let stamps = Self.stamps(http)
        do {
            guard (http.web.tls == nil) == (before.web.tls == nil) else {
                throw TLSProblem(description: "TLS is turned on or off at a start only: restart the service")
            }
            guard http.isLoopback || http.authenticates || !before.authenticates else {
                throw TLSProblem(
                    description: "listening on \(http.host) without authentication would let everybody in")
            }
            let (security, tls) = try Self.make(http)
            state.withLock { $0 = State(http: http, security: security, tls: tls, stamps: stamps) }
            if before.web != http.web { log.info("web configuration loaded") }
        } catch {
            state.withLock { $0.stamps = stamps }
            log.error("web configuration refused", metadata: ["finding": "\(error)"])
        }
    }

    private static func make(_ http: HTTPConfig) throws -> (RequestSecurity, ServerTLS?) {
        let tokens = try http.tokenFiles.map { path in
            let text = try FileSystem.readText(path, maxBytes: 1 << 16)
            guard let token = text.split(whereSeparator: \.isWhitespace).first else {
                // Without a token nobody would be asked for one.
                throw AccessProblem(description: "http.token_files: \(path) holds no token")
            }
            return String(token)
        }
        let security = RequestSecurity(
            users: http.web.users, tokens: tokens, corsOrigin: try corsOrigins(http.corsOrigin),
            headers: http.web.headers)
        return (security, try http.web.tls.map { try ServerTLS($0) })
    }

    private static func stamps(_ http: HTTPConfig) -> [Stamp?] {
        let files = (http.webConfigFile.map { [$0] } ?? []) + (http.web.tls?.files ?? []) + http.tokenFiles
        return files.map { file in
            guard let status = try? FileSystem.status(file) else { return nil }
            return Stamp(size: status.size, modified: status.modified, inode: status.inode)
        }
    }
}
