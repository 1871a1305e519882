/// Decides what an upgrade does next. Pure: it is told what happened and says what may begin; it touches nothing.
package struct UpgradeMachine: Sendable {
    package private(set) var run: UpgradeRun

    package init(_ run: UpgradeRun) { self.run = run }

    package enum Request: String, Sendable, CaseIterable { case pause, abort }

    /// The visits whose next step may be done now, beside those in `busy`, whose step is being done.
    func startable(busy: Set<Int>) -> [Int] {
        switch run.state {
        case .running, .pausing, .stopping: break
        case .aborting, .paused, .stopped, .aborted, .finished: return []
        }
        // Those whose turn has begun go on to its end, whatever is asked meanwhile.
        var out = run.visits.indices.filter { run.visits[$0].status == .active && !busy.contains($0) }
        guard run.state == .running, let group = run.visits.first(where: { $0.status != .done })?.group else {
            return out
        }
        // A batch begins when the one before has come to its end: while one node is waited for, no other is begun.
        guard !run.visits.contains(where: { $0.status == .active }) else { return out }
        out += run.visits.indices.filter { run.visits[$0].group == group && run.visits[$0].status == .waiting }
            .prefix(limit(group))
        return out
    }

    private func limit(_ group: Int) -> Int { group == 3 || group == 5 ? max(1, run.maxUnavailable) : 1 }

    /// A visit's turn begins, or goes on after the runner came back.
    mutating func begin(_ index: Int, at time: Int64) {
        guard run.visits[index].status != .active else { return }
        run.visits[index].status = .active
        run.visits[index].attempts += 1
        run.visits[index].startedAt = run.visits[index].startedAt ?? time
        run.visits[index].note = ""
        tell(index, "begins", time)
    }

    mutating func stepDone(_ index: Int, note: String, at time: Int64) {
        if let step = run.visits[index].step {
            tell(index, note.isEmpty ? "\(step.rawValue) done" : "\(step.rawValue): \(note)", time)
        }
        run.visits[index].position += 1
        run.visits[index].note = ""
        if run.visits[index].step == nil { end(index, at: time) }
        settle(at: time)
    }

    /// A node that is no longer there is passed over.
    mutating func pass(_ index: Int, note: String, at time: Int64) {
        tell(index, note, time)
        end(index, at: time)
        run.visits[index].note = note
        settle(at: time)
    }

    private mutating func end(_ index: Int, at time: Int64) {
        run.visits[index].status = .done
        run.visits[index].endedAt = time
        if !run.visits[index].node.isEmpty { tell(index, "ends its turn", time) }
    }

    mutating func stepFailed(_ index: Int, problem: String, at time: Int64) {
        let step = run.visits[index].step?.rawValue ?? ""
        run.visits[index].status = .failed
        run.visits[index].note = problem
        tell(index, "\(step) failed: \(problem)", time)
        let node = run.visits[index].node
        run.problem = run.problem ?? "\(node.isEmpty ? "" : node + ": ")\(step): \(problem)"
        if run.state != .aborting { run.state = .stopping }
        settle(at: time)
    }

    mutating func note(_ index: Int, _ text: String, at time: Int64) {
        guard run.visits[index].note != text else { return }
        run.visits[index].note = text
        if !text.isEmpty { tell(index, text, time) }
    }

    package mutating func ask(_ request: Request, at time: Int64) {
        guard !run.state.isOver else { return }
        switch request {
        case .pause:
            guard run.state == .running else { return }
            run.state = .pausing
            run.tell("asked to pause after the nodes under way", at: time)
        case .abort:
            guard run.state != .aborting else { return }
            run.state = .aborting
            run.tell("asked to abort", at: time)
        }
        settle(at: time)
    }

    /// From paused or stopped, and after the runner was cut off.
    package mutating func resume(at time: Int64) {
        switch run.state {
        case .paused, .stopped, .stopping, .pausing:
            run.state = .running
            run.problem = nil
            for index in run.visits.indices where run.visits[index].status == .failed {
                run.visits[index].status = .waiting
                run.visits[index].note = ""
            }
            run.tell("resumes", at: time)
        case .running: run.tell("goes on", at: time)
        case .aborting, .aborted, .finished: break
        }
    }

    /// All own cordons are taken back.
    mutating func aborted(at time: Int64) {
        run.state = .aborted
        run.endedAt = time
        run.tell("aborted", at: time)
    }

    private mutating func settle(at time: Int64) {
        guard !run.visits.contains(where: { $0.status == .active }) else { return }
        switch run.state {
        case .running where run.visits.allSatisfy({ $0.status == .done }):
            run.state = .finished
            run.endedAt = time
            run.problem = nil
            run.tell("finished", at: time)
        case .pausing where run.visits.allSatisfy({ $0.status == .done }):
            run.state = .finished
            run.endedAt = time
            run.tell("finished", at: time)
        case .pausing:
            run.state = .paused
            run.tell("paused", at: time)
        case .stopping:
            run.state = .stopped
            run.tell("stopped: \(run.problem ?? "")", at: time)
        default: break
        }
    }

    private mutating func tell(_ index: Int, _ text: String, _ time: Int64) {
        run.tell(text, node: run.visits[index].node, at: time)
    }
}
