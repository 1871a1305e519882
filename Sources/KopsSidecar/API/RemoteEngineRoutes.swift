package import Monitoring
import Platform

/// The query API where `storage.engine` is `remote`: calls are handed on, answers come back as they are. These routes stand
/// before those of the local store.
package struct RemoteEngineRoutes: Sendable {
    private let engine: RemoteEngine

    package init(_ engine: RemoteEngine) { self.engine = engine }

    package var routes: [Route] {
        ["query", "query_range", "series", "labels", "query_exemplars"].map { name in
            .query("/api/v1/" + name) { try await forward($0, "/api/v1/" + name) }
        } + [
            .get("/api/v1/label/:name/values") { request in
                let name = percentEncoded(request.pathValues.first ?? "")
                return try await forward(request, "/api/v1/label/\(name)/values")
            }
        ]
    }

    private func forward(_ request: APIRequest, _ path: String) async throws -> APIReply {
        let (engine, parameters) = (engine, request.parameters)
        let task = Task { try await engine.forward(path, parameters) }
        request.cancellation.onCancel { task.cancel() }
        do {
            let response = try await task.value
            return APIReply(response.status, response.header("content-type") ?? "application/json", response.body)
        } catch {
            throw APIError(.unavailable, "the remote engine cannot be asked: \(error)")
        }
    }
}
