package import Kubernetes
package import Platform

/// The election's lease as an object of coordination.k8s.io/v1. Thread-safe.
package final class KubernetesLease: LeaseStore {
    private let namespace: String
    private let name: String
    private let clock: WallClock
    private let connect: @Sendable () async throws -> KubernetesClient
    private struct State {
        var client: KubernetesClient?
        /// As last read or written, so that what others put into it is kept.
        var lease: Lease?
    }
    private let state = Lock(State())

    /// `connect` is called again until it gives a client: the kubeconfig may not be there yet. The client should not try
    /// again by itself.
    package init(
        namespace: String, name: String, clock: WallClock,
        connect: @escaping @Sendable () async throws -> KubernetesClient
    ) {
        self.namespace = namespace
        self.name = name
        self.clock = clock
        self.connect = connect
    }

    private func client() async throws -> KubernetesClient {
        if let client = state.withLock({ $0.client }) { return client }
        let client = try await connect()
        state.withLock { $0.client = client }
        return client
    }

    package func read() async throws -> (record: LeaseRecord, version: String)? {
        guard let lease = try await client().find(Lease.self, name, namespace: namespace) else { return nil }
        state.withLock { $0.lease = lease }
        let spec = lease.spec ?? Lease.Spec()
        let record = LeaseRecord(
            holder: spec.holderIdentity ?? "", duration: Int64(spec.leaseDurationSeconds ?? 0) * 1000,
            transitions: spec.leaseTransitions ?? 0, acquiredAt: spec.acquireTime?.text ?? "",
            renewedAt: spec.renewTime?.text ?? "")
        return (record, lease.metadata.resourceVersion ?? "")
    }

    package func create(_ record: LeaseRecord, isNew: Bool) async throws -> String {
        var lease = Lease(metadata: ObjectMeta(name: name, namespace: namespace))
        fill(&lease, record, isNew: true)
        return try await written { [lease] in try await client().create(lease) }
    }

    package func update(_ record: LeaseRecord, version: String, isNew: Bool) async throws -> String {
        var lease =
            state.withLock { $0.lease } ?? Lease(metadata: ObjectMeta(name: name, namespace: namespace))
        lease.metadata.resourceVersion = version
        fill(&lease, record, isNew: isNew)
        return try await written { [lease] in try await client().replace(lease) }
    }

    private func written(_ send: () async throws -> Lease) async throws -> String {
        do {
            let lease = try await send()
            state.withLock { $0.lease = lease }
            return lease.metadata.resourceVersion ?? ""
        } catch let error as KubernetesError where error.kind == .conflict || error.kind == .notFound {
            throw LeaseConflict()
        }
    }

    private func fill(_ lease: inout Lease, _ record: LeaseRecord, isNew: Bool) {
        let now = MicroTime(milliseconds: clock.nowMilliseconds())
        var spec = lease.spec ?? Lease.Spec()
        spec.holderIdentity = record.holder
        spec.leaseDurationSeconds = Int(max(1, (record.duration + 999) / 1000))
        spec.leaseTransitions = record.transitions
        if isNew || spec.acquireTime == nil { spec.acquireTime = now }
        spec.renewTime = now
        lease.spec = spec
    }
}
