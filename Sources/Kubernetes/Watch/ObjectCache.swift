import Platform

/// All objects of one kind as the server last told them, kept up by a watch. Thread-safe. The watch ends with this value.
/// While the server cannot be reached the objects stay as they were.
package final class ObjectCache<Object: KubernetesObject>: Sendable {
    private struct State {
        var objects: [ObjectKey: Object] = [:]
        var isSynced = false
        var failure: KubernetesError?
        var listeners: [Int: AsyncStream<Void>.Continuation] = [:]
        var nextListener = 0
    }

    /// Apart from the cache, so that the watch's task does not keep the cache alive.
    private final class Shared: Sendable {
        let state = Lock(State())

        func take(_ event: WatchEvent<Object>) {
            let listeners = state.withLock { state -> [AsyncStream<Void>.Continuation] in
                switch event {
                case .added(let object), .modified(let object): state.objects[object.key] = object
                case .deleted(let key): state.objects[key] = nil
                case .synced:
                    state.isSynced = true
                    state.failure = nil
                case .failed(let error):
                    state.failure = error
                    return []
                }
                state.failure = nil
                return state.isSynced ? Array(state.listeners.values) : []
            }
            for listener in listeners { listener.yield() }
        }
    }

    private let shared = Shared()
    private let task: Task<Void, Never>

    package init(
        _ client: KubernetesClient, namespace: String? = nil, _ list: ListOptions = ListOptions(),
        _ options: WatchOptions = WatchOptions(), onFailure: @escaping @Sendable (KubernetesError) -> Void = { _ in }
    ) {
        let shared = shared
        task = Task {
            await client.watch(Object.self, namespace: namespace, list, options) { event in
                if case .failed(let error) = event { onFailure(error) }
                shared.take(event)
            }
        }
    }

    deinit {
        task.cancel()
        for listener in shared.state.withLock({ Array($0.listeners.values) }) { listener.finish() }
    }

    package var objects: [ObjectKey: Object] { shared.state.withLock { $0.objects } }
    package var count: Int { shared.state.withLock { $0.objects.count } }
    /// Whether a whole list has been seen, ever.
    package var isSynced: Bool { shared.state.withLock { $0.isSynced } }
    /// Why the server does not answer now; nil while it does.
    package var failure: KubernetesError? { shared.state.withLock { $0.failure } }

    package subscript(key: ObjectKey) -> Object? { shared.state.withLock { $0.objects[key] } }

    /// Something each time that objects changed since the last time, from the first whole list on.
    package func changes() -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let (id, isSynced) = shared.state.withLock { state in
            state.nextListener += 1
            state.listeners[state.nextListener] = continuation
            return (state.nextListener, state.isSynced)
        }
        if isSynced { continuation.yield() }
        let shared = shared
        continuation.onTermination = { _ in _ = shared.state.withLock { $0.listeners.removeValue(forKey: id) } }
        return stream
    }
}
