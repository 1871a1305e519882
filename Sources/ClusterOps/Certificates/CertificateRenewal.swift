import Platform

/// Carries out what `RenewalMachine` decides, on this node: renews certificates with kubeadm, restarts the static pods that
/// hold the old ones, proves the new ones, or brings the old state back. One at a time on a node, over all processes.
package struct CertificateRenewal: Sendable {
    package var options: RenewalOptions
    package var limits = StaticPodLimits()
    /// Told of each step before it is done.
    package var announce: (@Sendable (RenewalStep) -> Void)?
    /// Told of what is waited for.
    package var tell: @Sendable (String) -> Void = { _ in }
    /// Keeps nodes from restarting their components at the same time; nil: there is no other node.
    package var turn: RestartTurn?
    /// For tests: called between the journal and the step, and after the step; what it throws ends the renewal as a kill would.
    var interrupt: (@Sendable (RenewalStep, _ isDone: Bool) throws -> Void)?

    package init(_ options: RenewalOptions) { self.options = options }

    private var journal: RenewalJournal { RenewalJournal(layout: options.layout) }

    /// What the last renewal came to, or the one that waits to be resumed; nil where there was none.
    package func last() throws -> RenewalMachine? { try journal.read() }

    /// A renewal that was cut off, on this node.
    package func isUnfinished() -> Bool { ((try? journal.read()) ?? nil)?.outcome == .running }

    /// Does all steps of the plan. Throws only where it could not be begun or was interrupted; how it ended is in the result.
    package func run(_ plan: RenewalPlan) async throws -> RenewalMachine {
        let lock = try await WorkerPool.blocking.run { [journal] in
            let lock = try journal.lock()
            if try journal.read()?.outcome == .running {
                throw RenewalError("an earlier renewal was cut off: resume it first")
            }
            return lock
        }
        return try await execute(RenewalMachine(plan), lock)
    }

    /// Goes on with the one that was cut off; nil where there is none. Waits for a kubeadm that is still running.
    package func resume() async throws -> RenewalMachine? {
        guard isUnfinished() else { return nil }
        // As long as one call of kubeadm may take.
        let deadline = ContinuousClock.now + .seconds(200)
        var lock: FileLock?
        while lock == nil {
            do {
                lock = try await WorkerPool.blocking.run { [journal] in try journal.lock() }
            } catch let error as RenewalError {
                guard ContinuousClock.now < deadline else { throw error }
                try await Task.sleep(for: .milliseconds(200))
            }
        }
        guard let lock else { return nil }
        guard let machine = try journal.read(), machine.outcome == .running else { return nil }
        return try await execute(machine, lock)
    }

    private func execute(_ begun: RenewalMachine, _ lock: FileLock) async throws -> RenewalMachine {
        let isEnding = Lock(false)
        // Not cancelled where it stands: a component would stay stopped. It ends before the next step that is safe to leave.
        let work = Task { try await steps(begun, lock, isEnding) }
        return try await withTaskCancellationHandler {
            try await work.value
        } onCancel: {
            isEnding.withLock { $0 = true }
        }
    }

    private func steps(
        _ begun: RenewalMachine, _ lock: FileLock, _ isEnding: Lock<Bool>
    ) async throws -> RenewalMachine {
        defer { withExtendedLifetime(lock) {} }
        do {
            let end = try await allSteps(begun, lock, isEnding)
            await turn?.give()
            return end
        } catch is Interruption {
            // As after a kill, the turn stays this node's until it is back.
            throw Interruption()
        } catch {
            await turn?.give()
            throw error
        }
    }

    private func allSteps(
        _ begun: RenewalMachine, _ lock: FileLock, _ isEnding: Lock<Bool>
    ) async throws -> RenewalMachine {
        var machine = begun
        var action = machine.handle(.begin)
        while case .perform(let step) = action {
            try await record(machine)
            if isEnding.withLock({ $0 }), step.isSafeToLeaveBefore { throw CancellationError() }
            announce?(step)
            try interrupt?(step, false)
            do {
                if case .stop(let component) = step, !machine.isGoingBack {
                    try await awaitTurn(component, machine, isEnding)
                }
                let note = try await perform(step, machine, lock)
                try interrupt?(step, true)
                action = machine.handle(.succeeded(note: note))
            } catch let error as Interruption {
                throw error
            } catch let error as CancellationError {
                // Told to end while it waited for its turn: nothing stands still.
                throw error
            } catch {
                action = machine.handle(.failed("\(error)"))
            }
        }
        try await record(machine)
        journal.prune(keeping: options.keptCopies)
        return machine
    }

    private func record(_ machine: RenewalMachine) async throws {
        try await WorkerPool.blocking.run { [journal] in try journal.write(machine) }
    }

    private func perform(_ step: RenewalStep, _ machine: RenewalMachine, _ lock: FileLock) async throws -> String? {
        let plan = machine.plan
        let control = StaticPodControl(
            layout: options.layout, heldDirectory: journal.heldDirectory(plan), limits: limits)
        switch step {
        case .copy:
            let copy = journal.copyDirectory(plan)
            let directory = options.layout.kubernetesDirectory
            try await WorkerPool.blocking.run {
                try FileSystem.makeDirectories(FileSystem.parent(of: copy), mode: 0o700)
                try FileCopies.copyTree(directory, to: copy, skipping: "tmp")
            }
        case .renew(let name):
            guard let item = plan.items.first(where: { $0.name == name }), let which = KubeadmCertificate.named(name)
            else {
                throw RenewalError("kubeadm knows no certificate \(name)")
            }
            let copy = journal.copyDirectory(plan)
            return try await WorkerPool.blocking.run { [options] in
                try KubeadmRenewal(options: options, copy: copy, renewBefore: plan.renewBefore)
                    .renew(which, item, lock.descriptor)
            }
        case .stop(let component):
            try await control.stop(component)
        case .start(let component):
            try await WorkerPool.blocking.run { try control.start(component) }
        case .prove(let component):
            try await control.prove(component)
        case .refreshCopy(let path):
            let old = journal.copyDirectory(plan) + "/admin.conf"
            return try await WorkerPool.blocking.run { [layout = options.layout] in
                try AdminCopy.refresh(path, from: layout.kubernetesDirectory + "/admin.conf", old: old)
            }
        case .putBack:
            return try await WorkerPool.blocking.run { [layout = options.layout] in
                let copy = journal.copyDirectory(plan)
                var count = 0
                for item in plan.items {
                    guard let which = KubeadmCertificate.named(item.name) else { continue }
                    // The key first: who reads in between sees a pair that does not match, and tries again.
                    for path in [layout.keyPath(which), layout.path(which)].compactMap({ $0 }) {
                        if try FileCopies.putBack(path, from: copied(path, layout, copy)) { count += 1 }
                    }
                }
                return "\(count) files put back from \(copy)"
            }
        }
        return nil
    }

    /// Returns when this node may stop the component: it is its turn, and etcd can spare this member.
    private func awaitTurn(_ component: String, _ machine: RenewalMachine, _ isEnding: Lock<Bool>) async throws {
        let control = StaticPodControl(
            layout: options.layout, heldDirectory: journal.heldDirectory(machine.plan), limits: limits)
        // A kill came after the manifest was moved: the sooner it is back the better.
        if control.isHeld(component) { return }
        var isAlone = false
        if let turn {
            let answer = try await turn.take(isEnding: { isEnding.withLock { $0 } }, tell: tell)
            if case .nobodyToAsk(let problem) = answer {
                isAlone = true
                tell("no turn could be agreed on with other nodes (\(problem)): goes on by etcd's quorum alone")
            }
        }
        guard component == "etcd" else { return }
        if isAlone { try await standBack(control) }
        try await proveSpare(control)
    }

    /// Nodes that found nobody to ask at the same moment would all find etcd well: each waits for those before it in the order
    /// of their members, long enough to see that one of them is at it.
    private func standBack(_ control: StaticPodControl) async throws {
        let probe = ControlPlaneProbe(layout: options.layout)
        defer { probe.close() }
        let place = await probe.place(try control.manifest("etcd"))
        if place > 0 { try await Task.sleep(for: limits.standBack * place) }
    }

    /// Waits a little for other members to become well: another node's may just be restarting.
    private func proveSpare(_ control: StaticPodControl) async throws {
        let probe = ControlPlaneProbe(layout: options.layout)
        defer { probe.close() }
        let manifest = try control.manifest("etcd")
        let deadline = ContinuousClock.now + limits.stop("etcd")
        while let problem = await probe.cannotSpareMember(manifest) {
            guard ContinuousClock.now < deadline else { throw RenewalError(problem) }
            try await Task.sleep(for: .seconds(1))
        }
    }
}

/// Ends a renewal as a kill would; for tests.
struct Interruption: Error {}

/// Where a file's copy lies. A PKI directory outside of the Kubernetes directory is not copied with it.
func copied(_ path: String, _ layout: KubeadmLayout, _ copy: String) throws -> String {
    guard path.hasPrefix(layout.kubernetesDirectory + "/") else {
        throw RenewalError("\(path) lies outside of \(layout.kubernetesDirectory)")
    }
    return copy + path.dropFirst(layout.kubernetesDirectory.count)
}
