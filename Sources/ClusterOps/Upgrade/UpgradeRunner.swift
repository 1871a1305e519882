import Platform

/// Brings a run to its end: asks the machine what may begin, writes it down, does it. One at a time for a journal; whoever
/// runs it holds the journal's lock.
package struct UpgradeRunner: Sendable {
    package let context: UpgradeContext
    package let journal: any UpgradeJournal
    /// Told of each state of the run, after it was written down; and of what is waited for.
    package let observe: @Sendable (UpgradeRun) -> Void

    package init(
        context: UpgradeContext, journal: any UpgradeJournal, observe: @escaping @Sendable (UpgradeRun) -> Void
    ) {
        self.context = context
        self.journal = journal
        self.observe = observe
    }

    private enum Happening: Sendable {
        case done(Int, String)
        case failed(Int, UpgradeError)
        case cancelled
        case tick
    }

    /// Goes on with the journal's run until it is finished, paused, stopped or aborted; returns it as it is then. A task that
    /// is cancelled leaves the run as it is written down: it goes on from there.
    package func run() async throws -> UpgradeRun {
        guard let loaded = try journal.load() else { throw UpgradeError(.state, "there is no upgrade to go on with") }
        var machine = UpgradeMachine(loaded)
        // A request from before this run took up its work is none of its own.
        var written: UpgradeRun?
        func write() throws {
            guard machine.run != written else { return }
            try journal.save(machine.run)
            written = machine.run
            observe(machine.run)
        }
        try write()
        let notes = Lock<[Int: String]>([:])
        let result: UpgradeRun = try await withThrowingTaskGroup(of: Happening.self) { group in
            var busy: Set<Int> = []
            func tick() {
                group.addTask { [context] in
                    do {
                        try await context.pacing.sleep(1000)
                        return .tick
                    } catch {
                        return .cancelled
                    }
                }
            }
            tick()
            while true {
                // Before another node's turn begins, not some time after.
                if let request = journal.takeRequest() {
                    machine.ask(request, at: context.pacing.now())
                    try write()
                }
                if machine.run.state == .aborting, busy.isEmpty {
                    try await takeBackCordons(machine.run)
                    machine.aborted(at: context.pacing.now())
                    try write()
                    break
                }
                for index in machine.startable(busy: busy) {
                    machine.begin(index, at: context.pacing.now())
                    guard let step = machine.run.visits[index].step else { continue }
                    // Written down before it is done.
                    try write()
                    busy.insert(index)
                    let steps = UpgradeSteps(
                        context: context.forStep(), run: machine.run, visit: machine.run.visits[index]
                    ) {
                        text in
                        notes.withLock { $0[index] = text }
                    }
                    group.addTask {
                        do {
                            return .done(index, try await steps.perform(step))
                        } catch let error as UpgradeError {
                            return .failed(index, error)
                        } catch is CancellationError {
                            return .cancelled
                        } catch {
                            return .failed(index, UpgradeError(.failed, "\(error)"))
                        }
                    }
                }
                if busy.isEmpty, ![.running, .aborting].contains(machine.run.state) { break }
                guard let happening = try await group.next() else { break }
                let now = context.pacing.now()
                switch happening {
                case .done(let index, let note):
                    busy.remove(index)
                    machine.stepDone(index, note: note, at: now)
                case .failed(let index, let error):
                    busy.remove(index)
                    let isFresh = machine.run.visits[index].position == 0 || machine.run.visits[index].attempts > 1
                    if error.kind == .nodeGone, isFresh {
                        machine.pass(index, note: "left the cluster: passed over", at: now)
                    } else {
                        machine.stepFailed(index, problem: error.message, at: now)
                    }
                case .cancelled: throw CancellationError()
                case .tick:
                    for (index, text) in notes.withLock({ $0 }) where busy.contains(index) {
                        machine.note(index, text, at: now)
                    }
                    tick()
                }
                try write()
            }
            group.cancelAll()
            return machine.run
        }
        return result
    }

    private func takeBackCordons(_ run: UpgradeRun) async throws {
        let nodes = try await context.patiently { () async throws(ClusterCallError) in try await context.cluster.nodes()
        }
        for node in nodes where node.cordonedBy == run.id {
            try await Cordons(context: context, run: run.id).takeBack(node.name, { _ in })
        }
    }
}
