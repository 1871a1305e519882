import FoundationEssentials
import Platform

extension KubernetesClient {
    /// Lists, then watches, until the task is cancelled, and tells `handler` of everything in order; the next event waits
    /// until it returns. After a list that had to be made again (the server forgot the revision, or the connection was
    /// lost for too long) it tells only what is different from before, with deletions.
    ///
    /// Holds one key and resourceVersion per object, no objects. Nothing but a cancelled task ends it.
    package func watch<T: KubernetesObject>(
        _ type: T.Type = T.self, namespace: String? = nil, _ list: ListOptions = ListOptions(),
        _ options: WatchOptions = WatchOptions(), handler: @Sendable (WatchEvent<T>) async -> Void
    ) async {
        var watch = Watch<T>(client: self, namespace: namespace, list: list, options: options)
        await watch.run(handler)
    }
}

/// One watch between its connections.
private struct Watch<T: KubernetesObject>: Sendable {
    let client: KubernetesClient
    let namespace: String?
    let list: ListOptions
    let options: WatchOptions
    /// What has been told.
    private var known: [ObjectKey: String] = [:]
    /// From where to go on; nil where a list is needed.
    private var version: String?
    private var pause: Duration

    init(client: KubernetesClient, namespace: String?, list: ListOptions, options: WatchOptions) {
        self.client = client
        self.namespace = namespace
        self.list = list
        self.options = options
        pause = options.firstPause
    }

    mutating func run(_ handler: @Sendable (WatchEvent<T>) async -> Void) async {
        var begun: Int64 = 0
        while !Task.isCancelled {
            // A server or proxy that ends every connection at once is asked once a second at most.
            let since = monotonicNanoseconds() - begun
            if begun != 0, since < 1_000_000_000 { try? await Task.sleep(for: .nanoseconds(1_000_000_000 - since)) }
            if Task.isCancelled { return }
            begun = monotonicNanoseconds()
            do {
                if version == nil { try await relist(handler) }
                try await follow(handler)
            } catch {
                if Task.isCancelled { return }
                switch error.kind {
                case .gone: version = nil
                case .notFound:
                    // The resource is gone, as a beta version after an upgrade: ask anew what there is.
                    client.forgetServedVersions()
                    version = nil
                default: break
                }
                if error.kind != .gone { await handler(.failed(error)) }
                let wait = min(max(pause, error.retryAfter ?? .zero), options.longestPause * 4)
                pause = min(pause * 2, options.longestPause)
                try? await Task.sleep(for: wait * Double.random(in: 0.8...1.2))
            }
        }
    }

    private mutating func relist(_ handler: @Sendable (WatchEvent<T>) async -> Void) async throws(KubernetesError) {
        var objects: [T] = []
        let newVersion = try await client.pages(T.self, namespace: namespace, list) { objects += $0 }
        var gone = known
        for object in objects {
            let now = object.metadata.resourceVersion ?? ""
            let before = known.updateValue(now, forKey: object.key)
            gone[object.key] = nil
            if before == nil {
                await handler(.added(object))
            } else if before != now {
                await handler(.modified(object))
            }
        }
        for key in gone.keys {
            known[key] = nil
            await handler(.deleted(key))
        }
        version = newVersion.isEmpty ? nil : newVersion
        pause = options.firstPause
        await handler(.synced)
    }

    /// One connection, until the server ends it.
    private mutating func follow(_ handler: @Sendable (WatchEvent<T>) async -> Void) async throws(KubernetesError) {
        let path = try await client.path(T.resource, namespace)
        let seconds = options.serverTimeout.inSeconds * Double.random(in: 1...2)
        let query =
            list.query + [
                ("watch", "true"), ("allowWatchBookmarks", "true"), ("resourceVersion", version ?? ""),
                ("timeoutSeconds", String(max(1, Int(seconds)))),
            ]
        var request = try client.makeRequest("GET", path, query: query, accept: "application/json")
        request.timeout = .seconds(Int64(seconds) + 60)
        request.lowSpeedLimit = (1, options.silence)
        // Gzip would hold events back until a block is full.
        request.decompress = false
        let lines = WatchLines(limit: options.bufferBytes)
        let http = client.http
        let toSend = request
        let transfer = Task {
            do throws(HTTPError) {
                lines.end(
                    .success(
                        try await http.stream(
                            toSend, onHeaders: { status, _ in lines.begin(status: status) },
                            receive: { lines.take($0) })))
            } catch {
                lines.end(.failure(error))
            }
        }
        // Cancelled with the watch's task; the transfer's end then wakes the taker.
        let outcome = await withTaskCancellationHandler {
            await consume(lines, "GET \(path)", handler)
        } onCancel: {
            transfer.cancel()
        }
        transfer.cancel()
        try outcome.get()
    }

    private mutating func consume(
        _ lines: WatchLines, _ request: String, _ handler: @Sendable (WatchEvent<T>) async -> Void
    ) async -> Result<Void, KubernetesError> {
        var heard = false
        while true {
            switch await lines.next() {
            case .line(let line):
                heard = true
                do {
                    try await take(line, request, handler)
                } catch {
                    return .failure(error)
                }
                pause = options.firstPause
            case .ended(.overflow): return .success(())
            case .ended(.closed(let status, let body, let retryAfter)):
                if status != 200 {
                    return .failure(
                        KubernetesError(status: status, body: body, retryAfterHeader: retryAfter, request: request))
                }
                // A server that said nothing at all, not even a bookmark, may have lost revisions (restored from a backup)
                // and then waits for one that never comes: list again.
                if !heard { version = nil }
                return .success(())
            case .ended(.failed(let error)):
                // Silence on a connection that brought something is how a quiet resource looks on an old server.
                if error.kind == .timeout, heard { return .success(()) }
                if error.kind == .timeout { version = nil }
                return .failure(KubernetesError(error, request: request))
            }
        }
    }

    private mutating func take(
        _ line: [UInt8], _ request: String, _ handler: @Sendable (WatchEvent<T>) async -> Void
    ) async throws(KubernetesError) {
        let frame: Frame<T>
        do {
            frame = try JSONDecoder().decode(Frame<T>.self, from: Data(line))
        } catch {
            // What cannot be read is not passed over: a list shows the objects as they are.
            version = nil
            throw KubernetesError(.decoding, "an event is not readable: \(shortened(error))", request: request)
        }
        switch frame {
        case .failed(let status):
            throw KubernetesError(
                status: status.code ?? 500, message: status.message ?? "", reason: status.reason ?? "",
                request: request)
        case .bookmark(let at): version = at ?? version
        case .unknown: break
        case .object(let type, let object):
            let now = object.metadata.resourceVersion ?? ""
            if type == "DELETED" {
                known[object.key] = nil
                await handler(.deleted(object.key))
            } else if known.updateValue(now, forKey: object.key) == nil {
                await handler(.added(object))
            } else {
                await handler(.modified(object))
            }
            if !now.isEmpty { version = now }
        }
    }
}

/// One line of a watch.
private enum Frame<T: KubernetesObject>: Decodable {
    case object(type: String, T)
    case bookmark(String?)
    case failed(StatusObject)
    case unknown

    private struct Version: Decodable {
        struct Meta: Decodable { var resourceVersion: String? }
        var metadata: Meta?
    }

    private enum CodingKeys: String, CodingKey { case type, object }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let type = try container.decode(String.self, forKey: .type)
        switch type {
        case "ADDED", "MODIFIED", "DELETED": self = .object(type: type, try container.decode(T.self, forKey: .object))
        case "BOOKMARK":
            self = .bookmark(try container.decode(Version.self, forKey: .object).metadata?.resourceVersion)
        case "ERROR": self = .failed(try container.decode(StatusObject.self, forKey: .object))
        default: self = .unknown
        }
    }
}
