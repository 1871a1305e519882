/// What a renewal will do, decided beforehand and written down with the journal. Holds no secret.
package struct RenewalPlan: Codable, Sendable, Equatable {
    package struct Item: Codable, Sendable, Equatable {
        /// As kubeadm names it.
        package var name: String
        package var path: String
        package var oldSerial: String
        /// Milliseconds since 1970 UTC.
        package var oldNotAfter: Int64
    }

    /// When it was made, as `20261125T010203Z`; names its directory.
    package var id: String
    package var items: [Item]
    /// Static pods that hold one of them, in the order in which they are restarted.
    package var components: [String]
    /// Copies of admin.conf to refresh.
    package var copies: [String]
    /// False where the old certificates have expired, so that going back to them would help nobody.
    package var canGoBack: Bool
    /// Milliseconds; a renewed certificate that is due again at once is told of.
    package var renewBefore: Int64
}

/// What is done to a node, one after the other. Each can be repeated after a kill.
package enum RenewalStep: Codable, Sendable, Hashable, CustomStringConvertible {
    /// A full copy of the Kubernetes directory.
    case copy
    case renew(String)
    /// The manifest out of kubelet's sight, and the proof that the component has stopped.
    case stop(String)
    case start(String)
    /// Ready, and showing on every port what the files now hold.
    case prove(String)
    case refreshCopy(String)
    /// The files as they were.
    case putBack

    /// Whether nothing stands still while the renewal waits here to be resumed.
    var isSafeToLeaveBefore: Bool {
        switch self {
        case .copy, .renew, .stop, .refreshCopy, .putBack: true
        case .start, .prove: false
        }
    }

    package var description: String {
        switch self {
        case .copy: "copy of the Kubernetes directory"
        case .renew(let name): "renewal of \(name)"
        case .stop(let component): "stop of \(component)"
        case .start(let component): "start of \(component)"
        case .prove(let component): "proof of \(component)"
        case .refreshCopy(let path): "copy of admin.conf at \(path)"
        case .putBack: "return to the old certificates"
        }
    }
}

/// The order of a renewal as a value: events in, the next step out. What it says is written down before it is done, so that
/// whoever was killed goes on where he was. Does nothing by itself.
package struct RenewalMachine: Codable, Sendable, Equatable {
    package enum Outcome: String, Codable, Sendable {
        case running
        /// All renewed, restarted and proven.
        case done
        /// Something failed; the old state is back and proven.
        case rolledBack
        /// Something failed, and so did the way back: somebody has to look.
        case stuck
        /// Something failed, and there was no way back worth going: the old certificates had expired.
        case leftForward
    }

    package enum Event: Sendable, Equatable {
        /// At the beginning, and again after a kill.
        case begin
        case succeeded(note: String?)
        case failed(String)
    }

    package enum Action: Sendable, Equatable {
        case perform(RenewalStep)
        case finished(Outcome)
    }

    package let plan: RenewalPlan
    package private(set) var outcome = Outcome.running
    /// What failed first.
    package private(set) var problem: String?
    /// Where it failed.
    package private(set) var failedStep: RenewalStep?
    package private(set) var notes: [String] = []
    private let forward: [RenewalStep]
    private var done = 0
    private var back: [RenewalStep]?
    private var backDone = 0

    package init(_ plan: RenewalPlan) {
        self.plan = plan
        forward =
            [.copy] + plan.items.map { .renew($0.name) }
            + plan.components.flatMap { [.stop($0), .start($0), .prove($0)] }
            // Once more all of them: the last to restart may have hurt the first.
            + (plan.components.count > 1 ? plan.components.map { .prove($0) } : [])
            + plan.copies.map { .refreshCopy($0) }
    }

    /// All steps of a renewal that goes well, and how many of them are done.
    package var steps: (all: [RenewalStep], done: Int) { (forward, done) }
    package var isGoingBack: Bool { back != nil }

    package mutating func handle(_ event: Event) -> Action {
        guard outcome == .running else { return .finished(outcome) }
        switch event {
        case .begin: break
        case .succeeded(let note):
            if let note { notes.append(note) }
            if back == nil { done += 1 } else { backDone += 1 }
        case .failed(let reason): failed(reason)
        }
        return next()
    }

    private mutating func failed(_ reason: String) {
        let step = current
        if back != nil {
            // As much as possible of the old state is brought back, whatever fails of it.
            notes.append("on the way back: \(step.map { "\($0): " } ?? "")\(reason)")
            backDone += 1
            return
        }
        if case .refreshCopy = step {
            // The cluster is well; a copy that could not be written is told of.
            problem = problem ?? "\(step.map { "\($0): " } ?? "")\(reason)"
            failedStep = failedStep ?? step
            done += 1
            return
        }
        problem = "\(step.map { "\($0): " } ?? "")\(reason)"
        failedStep = step
        back = wayBack()
    }

    private var current: RenewalStep? {
        if let back { return backDone < back.count ? back[backDone] : nil }
        return done < forward.count ? forward[done] : nil
    }

    /// From wherever the renewal stands. What was begun counts as done: it may have been.
    private func wayBack() -> [RenewalStep] {
        let begun = forward.prefix(done + 1)
        guard begun.count > 1 else { return [] }
        var stopped: Set<String> = []
        var started: Set<String> = []
        for step in begun {
            if case .stop(let component) = step { stopped.insert(component) }
            if case .start(let component) = step { started.insert(component) }
        }
        if !plan.canGoBack {
            let again = forward.prefix(done).filter { step in stopped.contains { step == .start($0) } }
            return stopped.sorted().map { .start($0) }.filter { !again.contains($0) }
        }
        var steps: [RenewalStep] = [.putBack]
        // First the one that may be down, so that no second one goes down beside it; then etcd, without which the API server
        // does not become ready.
        let last = plan.components.last { stopped.contains($0) }
        let order = plan.components.sorted { a, b in rank(a, last) < rank(b, last) }
        for component in order where started.contains(component) || stopped.contains(component) {
            if started.contains(component) { steps.append(.stop(component)) }
            steps.append(.start(component))
            steps.append(.prove(component))
        }
        for component in order where !stopped.contains(component) { steps.append(.prove(component)) }
        return steps
    }

    private func rank(_ component: String, _ first: String?) -> Int {
        if component == first { return -2 }
        return component == "etcd" ? -1 : plan.components.firstIndex(of: component) ?? 0
    }

    private mutating func next() -> Action {
        if let step = current { return .perform(step) }
        if back != nil {
            if !plan.canGoBack {
                outcome = .leftForward
            } else {
                outcome = notes.contains { $0.hasPrefix("on the way back: ") } ? .stuck : .rolledBack
            }
        } else {
            outcome = .done
        }
        return .finished(outcome)
    }
}
