import FoundationEssentials
import Platform

/// Which objects of a kind.
package struct ListOptions: Sendable, Hashable {
    /// As on kubectl's command line: `app=web,tier!=cache`.
    package var labelSelector: String?
    package var fieldSelector: String?
    /// Objects in one answer; a longer list comes in several.
    package var pageSize = 500
    /// `0` lets the server answer from its cache, which is cheap and may be a little old.
    package var resourceVersion: String?

    package init(labelSelector: String? = nil, fieldSelector: String? = nil) {
        self.labelSelector = labelSelector
        self.fieldSelector = fieldSelector
    }

    var query: [(String, String)] {
        var query: [(String, String)] = []
        if let labelSelector, !labelSelector.isEmpty { query.append(("labelSelector", labelSelector)) }
        if let fieldSelector, !fieldSelector.isEmpty { query.append(("fieldSelector", fieldSelector)) }
        return query
    }
}

package enum PatchType: String, Sendable {
    case merge = "application/merge-patch+json"
    case strategic = "application/strategic-merge-patch+json"
    case json = "application/json-patch+json"
    case apply = "application/apply-patch+yaml"
}

/// What a delete asks for.
package struct DeleteOptions: Sendable, Encodable {
    package struct Preconditions: Sendable, Encodable {
        package var uid: String?
        package var resourceVersion: String?
        package init(uid: String? = nil, resourceVersion: String? = nil) {
            self.uid = uid
            self.resourceVersion = resourceVersion
        }
    }
    package var gracePeriodSeconds: Int?
    package var preconditions: Preconditions?
    /// Background, Foreground or Orphan.
    package var propagationPolicy: String?
    package init() {}
}

extension KubernetesClient {
    package func get<T: KubernetesObject>(
        _ type: T.Type, _ name: String, namespace: String? = nil
    ) async throws(KubernetesError) -> T {
        try decode(T.self, try await send("GET", try await path(T.resource, namespace, name)))
    }

    /// Nil where there is none of that name.
    package func find<T: KubernetesObject>(
        _ type: T.Type, _ name: String, namespace: String? = nil
    ) async throws(KubernetesError) -> T? {
        do {
            return try await get(type, name, namespace: namespace)
        } catch {
            if error.kind == .notFound { return nil }
            throw error
        }
    }

    /// All objects, page by page; no namespace means all namespaces.
    package func list<T: KubernetesObject>(
        _ type: T.Type = T.self, namespace: String? = nil, options: ListOptions = ListOptions()
    ) async throws(KubernetesError) -> [T] {
        var all: [T] = []
        _ = try await pages(type, namespace: namespace, options) { all += $0 }
        return all
    }

    /// Hands over page by page and returns the list's resourceVersion, from where a watch goes on. A continue token that
    /// grew too old ends with `gone`: what came so far is then not a whole list.
    func pages<T: KubernetesObject>(
        _ type: T.Type, namespace: String?, _ options: ListOptions, _ take: ([T]) -> Void
    ) async throws(KubernetesError) -> String {
        let path = try await path(T.resource, namespace)
        var token: String?
        while true {
            var query = options.query + [("limit", String(options.pageSize))]
            if let token {
                query.append(("continue", token))
            } else if let version = options.resourceVersion {
                query.append(("resourceVersion", version))
            }
            let response = try await send("GET", path, query: query)
            let page = try await decodeLarge(ObjectList<T>.self, response)
            take(page.items)
            guard let next = page.metadata?.continue, !next.isEmpty else { return page.metadata?.resourceVersion ?? "" }
            token = next
        }
    }

    /// Returns the object as the server made it.
    package func create<T: KubernetesObject>(_ object: T) async throws(KubernetesError) -> T {
        let version = try await apiVersion(of: T.resource)
        let path = T.resource.path(version: version, namespace: object.metadata.namespace)
        let body = try encode(Envelope(apiVersion: T.resource.apiVersion(version), object: object))
        return try decode(T.self, try await send("POST", path, body: body))
    }

    /// Replaces the object where its resourceVersion is still current; `conflict` where it is not.
    package func replace<T: WholeObject>(_ object: T) async throws(KubernetesError) -> T {
        let version = try await apiVersion(of: T.resource)
        let path = T.resource.path(version: version, namespace: object.metadata.namespace, name: object.name)
        let body = try encode(Envelope(apiVersion: T.resource.apiVersion(version), object: object))
        return try decode(T.self, try await send("PUT", path, body: body))
    }

    /// `patch` is the JSON text of the patch. A `metadata.resourceVersion` in it makes it conditional.
    package func patch<T: KubernetesObject>(
        _ type: T.Type, _ name: String, namespace: String? = nil, _ kind: PatchType = .merge,
        json patch: String,
        sub: String? = nil, fieldManager: String? = nil
    ) async throws(KubernetesError) -> T {
        var query: [(String, String)] = []
        if let manager = fieldManager ?? (kind == .apply ? "kops-sidecar" : nil) {
            query.append(("fieldManager", manager))
            if kind == .apply { query.append(("force", "true")) }
        }
        let response = try await send(
            "PATCH", try await path(T.resource, namespace, name, sub), query: query, body: Array(patch.utf8),
            contentType: kind.rawValue)
        return try decode(T.self, response)
    }

    /// The same with a value to encode as the patch.
    package func patch<T: KubernetesObject>(
        _ type: T.Type, _ name: String, namespace: String? = nil, _ kind: PatchType = .merge,
        _ patch: some Encodable, sub: String? = nil
    ) async throws(KubernetesError) -> T {
        let text = String(decoding: try encode(patch), as: UTF8.self)
        return try await self.patch(type, name, namespace: namespace, kind, json: text, sub: sub)
    }

    package func delete<T: KubernetesObject>(
        _ type: T.Type, _ name: String, namespace: String? = nil, _ options: DeleteOptions = DeleteOptions()
    ) async throws(KubernetesError) {
        _ = try await send("DELETE", try await path(T.resource, namespace, name), body: try encode(options))
    }

    /// POST to a subresource such as `eviction`; the answer's body as it is.
    package func post<T: KubernetesObject>(
        _ type: T.Type, _ name: String, namespace: String? = nil, sub: String, _ body: some Encodable
    ) async throws(KubernetesError) -> [UInt8] {
        let path = try await path(T.resource, namespace, name, sub)
        return try await send("POST", path, body: try encode(body)).body
    }

    /// Asks for the pod's eviction; returns once the server has accepted it (the pod is then on its way out, not gone).
    /// `tooManyRequests` with `isDisruptionBudget` where a budget forbids it now. `dryRun` only asks.
    package func evict(
        namespace: String, pod: String, uid: String? = nil, gracePeriodSeconds: Int? = nil, dryRun: Bool = false
    ) async throws(KubernetesError) {
        struct Body: Encodable {
            struct Options: Encodable {
                var gracePeriodSeconds: Int?
                var preconditions: DeleteOptions.Preconditions?
                var dryRun: [String]?
            }
            var apiVersion: String
            var kind = "Eviction"
            var metadata: ObjectMeta
            var deleteOptions: Options?
        }
        var body = Body(
            apiVersion: "policy/\(try await evictionVersion())", metadata: ObjectMeta(name: pod, namespace: namespace))
        if uid != nil || gracePeriodSeconds != nil || dryRun {
            body.deleteOptions = Body.Options(
                gracePeriodSeconds: gracePeriodSeconds, preconditions: uid.map { .init(uid: $0) },
                dryRun: dryRun ? ["All"] : nil)
        }
        _ = try await post(Pod.self, pod, namespace: namespace, sub: "eviction", body)
    }

    // MARK: paths and JSON

    func path(_ resource: ResourceType, _ namespace: String?, _ name: String? = nil, _ sub: String? = nil)
        async throws(KubernetesError) -> String
    {
        resource.path(
            version: try await apiVersion(of: resource), namespace: namespace, name: name, sub: sub)
    }

    func encode(_ value: some Encodable) throws(KubernetesError) -> [UInt8] {
        do {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.withoutEscapingSlashes]
            return Array(try encoder.encode(value))
        } catch {
            throw KubernetesError(.invalid, "the request cannot be written as JSON: \(error)")
        }
    }

    /// Decodes large answers on a worker, so that the cooperative pool is not held up.
    func decodeLarge<T: Decodable & Sendable>(_ type: T.Type, _ response: HTTPResponse) async throws(KubernetesError)
        -> T
    {
        if response.body.count < 65_536 { return try decode(type, response) }
        let outcome: Result<T, KubernetesError>
        do {
            outcome = try await WorkerPool.shared.run { [self] in
                Result { () throws(KubernetesError) -> T in try decode(type, response) }
            }
        } catch {
            throw KubernetesError(.decoding, "\(error)")
        }
        return try outcome.get()
    }
}
