package import Platform

/// Talks to one cluster's API server. Thread-safe; share one per cluster, since its pace counts for all who use it.
///
/// Reads are tried again, a few times, where the server says 429, 503 or 504 and when; so are writes that were refused by
/// 429. All else is the caller's to decide. An access that came from a kubeconfig is read again when the file changes, so
/// that a renewed client certificate counts without a restart.
package final class KubernetesClient: Sendable {
    package struct Options: Sendable {
        package var userAgent = "kops-sidecar"
        /// Requests in a second over a longer time, and how many may go at once. 0: without a bound.
        package var requestsPerSecond: Double = 20
        package var burst = 40
        /// For one try of anything but a watch.
        package var timeout: Duration = .seconds(30)
        /// How often a request that may be tried again is tried in all.
        package var attempts = 4
        /// An answer larger than this is an error.
        package var maxBodyBytes = 256 << 20

        package init() {}
    }

    private struct State {
        var access: ClusterAccess
        var seen: FileSeen?
        var lookedAt: Int64 = 0
    }

    private struct FileSeen: Equatable {
        var modified: Int64
        var size: Int64
        var inode: UInt64
    }

    let http: HTTPClient
    let clock: WallClock
    package let options: Options
    private let pace: RequestPace
    private let state: Lock<State>
    let served = Lock<[String: ServedGroup]>([:])

    /// `http` should be used for Kubernetes alone and without a bound of connections per host: each watch keeps one.
    package init(
        _ access: ClusterAccess, http: HTTPClient, clock: WallClock = .system, options: Options = Options()
    ) {
        self.http = http
        self.clock = clock
        self.options = options
        pace = RequestPace(perSecond: options.requestsPerSecond, burst: options.burst)
        state = Lock(State(access: access))
    }

    /// As it is now; read again from its kubeconfig where that changed, looked at every ten seconds at most.
    package var access: ClusterAccess {
        let now = monotonicNanoseconds()
        return state.withLock { state in
            guard case .kubeconfig(let path, let context) = state.access.origin,
                state.lookedAt == 0 || now - state.lookedAt > 10_000_000_000
            else { return state.access }
            state.lookedAt = now
            guard let status = try? FileSystem.status(path) else { return state.access }
            let seen = FileSeen(modified: status.modified, size: status.size, inode: status.inode)
            // A file that is being written, or broken: what was read before stays.
            if state.seen != seen, state.seen != nil, let fresh = try? Kubeconfig.load(path: path, context: context) {
                state.access = fresh
            }
            state.seen = seen
            return state.access
        }
    }

    /// Has the kubeconfig looked at with the next request.
    func forgetWhenLooked() { state.withLock { $0.lookedAt = 0 } }

    // MARK: raw requests

    /// Sends one request and gives back the body of a 2xx answer. `path` begins with a slash; `query` is escaped here.
    package func send(
        _ method: String, _ path: String, query: [(String, String)] = [], body: [UInt8]? = nil,
        contentType: String = "application/json", accept: String = "application/json", repeatable: Bool? = nil
    ) async throws(KubernetesError) -> HTTPResponse {
        let name = "\(method) \(path)"
        let mayRepeat = repeatable ?? (method == "GET")
        var attempt = 0
        while true {
            attempt += 1
            var request = try makeRequest(method, path, query: query, accept: accept)
            request.timeout = options.timeout
            request.maxBodyBytes = options.maxBodyBytes
            if let body {
                request.body = body
                request.headers.append(("Content-Type", contentType))
            }
            let response: HTTPResponse
            do {
                try await pace.wait()
                response = try await http.send(request)
            } catch let error as HTTPError {
                throw KubernetesError(error, request: name)
            } catch {
                throw KubernetesError(.cancelled, "the request was cancelled", request: name)
            }
            if (200..<300).contains(response.status) { return response }
            let error = KubernetesError(
                status: response.status, body: response.body, retryAfterHeader: response.header("retry-after"),
                request: name)
            guard attempt < options.attempts, let wait = pause(before: attempt, error, mayRepeat) else { throw error }
            do {
                try await Task.sleep(for: wait)
            } catch {
                throw KubernetesError(.cancelled, "the request was cancelled", request: name)
            }
        }
    }

    /// How long to wait before the next try; nil where there is none.
    private func pause(before attempt: Int, _ error: KubernetesError, _ mayRepeat: Bool) -> Duration? {
        // A budget may take minutes to allow an eviction: whoever drains a node decides how long to wait.
        if error.isDisruptionBudget { return nil }
        switch error.code {
        // Refused before anything was done: safe for writes as well.
        case 429: guard mayRepeat || error.retryAfter != nil else { return nil }
        case 503, 504: guard mayRepeat else { return nil }
        default: return nil
        }
        let own = Duration.milliseconds(250 << min(attempt, 5))
        return min(error.retryAfter ?? own, .seconds(15))
    }

    /// A request with the access's identity. Throws where a token file cannot be read.
    func makeRequest(
        _ method: String, _ path: String, query: [(String, String)], accept: String
    ) throws(KubernetesError) -> HTTPRequest {
        let access = access
        let text = query.map { "\(percentEncoded($0.0))=\(percentEncoded($0.1))" }.joined(separator: "&")
        var request = HTTPRequest(method, access.server + path + (text.isEmpty ? "" : "?" + text))
        request.tls = access.tls
        request.proxy = access.proxy
        request.followRedirects = false
        // One connection for each watch: simple, and proof against the stalls of one stream holding up another.
        request.version = .http1
        request.headers = [("Accept", accept), ("User-Agent", options.userAgent)]
        func secret(_ file: String) throws(KubernetesError) -> String {
            do {
                return try FileSystem.readText(file, maxBytes: 1 << 20).filter { !$0.isWhitespace }
            } catch {
                throw KubernetesError(.unauthorized, "\(error)", request: "\(method) \(path)")
            }
        }
        if let file = access.tokenFile {
            request.headers.append(("Authorization", "Bearer \(try secret(file))"))
        } else if let token = access.token {
            request.headers.append(("Authorization", "Bearer \(token)"))
        } else if let basic = access.basicAuth {
            let password = if let file = basic.passwordFile { try secret(file) } else { basic.password }
            request.basicAuth = (basic.user, password)
        }
        return request
    }
}
