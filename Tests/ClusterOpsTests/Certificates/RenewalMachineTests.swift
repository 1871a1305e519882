import Testing

@testable import ClusterOps

/// A node as far as a renewal concerns it, in memory.
private struct ModelNode: Equatable {
    var files: [String: Bool] = [:]
    var copied = false
    var manifestIn: [String: Bool] = [:]
    /// Whether the running process holds the new certificates; absent where none runs.
    var holdsNew: [String: Bool] = [:]
    var starts: [String: Int] = [:]

    init(_ plan: RenewalPlan) {
        for item in plan.items { files[item.name] = false }
        for component in plan.components {
            manifestIn[component] = true
            holdsNew[component] = false
        }
    }

    var allNew: Bool { files.values.allSatisfy { $0 } }
    var allOld: Bool { files.values.allSatisfy { !$0 } }

    /// Nil where it went well.
    mutating func perform(_ step: RenewalStep) -> String? {
        switch step {
        case .copy: copied = true
        case .renew(let name):
            guard copied else { return "renewed without a copy" }
            files[name] = true
        case .stop(let component):
            manifestIn[component] = false
            holdsNew[component] = nil
        case .start(let component):
            manifestIn[component] = true
            if holdsNew[component] == nil {
                holdsNew[component] = files.values.contains(true)
                starts[component, default: 0] += 1
            }
        case .prove(let component):
            guard holdsNew[component] == files.values.contains(true) else { return "\(component) holds the wrong ones" }
        case .refreshCopy: break
        case .putBack: for name in files.keys { files[name] = false }
        }
        return nil
    }

    /// At most one component is down at any time.
    var down: Int { manifestIn.keys.count { holdsNew[$0] == nil } }
}

private let plan = RenewalPlan(
    id: "1",
    items: ["apiserver", "etcd-server", "scheduler.conf", "admin.conf"].map {
        RenewalPlan.Item(name: $0, path: "/\($0)", oldSerial: "1", oldNotAfter: 0)
    },
    components: ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"], copies: ["/root/config"],
    canGoBack: true, renewBefore: 0)

@Suite struct RenewalMachineTests {
    /// Runs to the end. `fails` decides whether a step fails, and whether it had its effect by then.
    private func run(
        _ plan: RenewalPlan, killAt: Int? = nil, fails: (RenewalStep, _ isGoingBack: Bool) -> (Bool, effect: Bool)
    ) -> (RenewalMachine, ModelNode) {
        var machine = RenewalMachine(plan)
        var node = ModelNode(plan)
        var action = machine.handle(.begin)
        var count = 0
        while case .perform(let step) = action {
            // What the journal holds when a kill comes: the step may be done, and is done again.
            let journal = machine
            let (fail, effect) = fails(step, machine.isGoingBack)
            if !fail, count == killAt {
                _ = node.perform(step)
                machine = journal
                action = machine.handle(.begin)
                count += 1
                continue
            }
            count += 1
            if fail {
                if effect { _ = node.perform(step) }
                action = machine.handle(.failed("broken"))
            } else if let problem = node.perform(step) {
                action = machine.handle(.failed(problem))
            } else {
                action = machine.handle(.succeeded(note: nil))
            }
            #expect(node.down <= 1, "\(step)")
            if count > 500 {
                Issue.record("does not end")
                break
            }
        }
        return (machine, node)
    }

    @Test func goesThroughAllStepsInOrder() {
        let (machine, node) = run(plan) { _, _ in (false, false) }
        #expect(machine.outcome == .done)
        #expect(node.allNew)
        #expect(node.holdsNew.values.allSatisfy { $0 })
        #expect(node.starts.values.allSatisfy { $0 == 1 })
        let restarts = machine.steps.all.compactMap { if case .stop(let component) = $0 { component } else { nil } }
        #expect(restarts == plan.components)
    }

    @Test func aFailureAtAnyStepEndsInTheOldState() {
        let steps = RenewalMachine(plan).steps.all
        for (index, failing) in steps.enumerated() {
            for effect in [false, true] {
                for killAt in [nil] + (0..<60).map(Optional.init) {
                    var at = -1
                    let (machine, node) = run(plan, killAt: killAt) { step, isGoingBack in
                        guard !isGoingBack else { return (false, false) }
                        at = machineIndex(step, steps, after: at)
                        return (at == index, effect)
                    }
                    #expect(machine.failedStep == failing)
                    if case .refreshCopy = failing {
                        #expect(machine.outcome == .done)
                        #expect(node.allNew)
                        continue
                    }
                    #expect(machine.outcome == .rolledBack, "\(failing) \(effect)")
                    #expect(node.allOld)
                    #expect(node.manifestIn.values.allSatisfy { $0 })
                    #expect(node.holdsNew.values.allSatisfy { !$0 } && node.down == 0, "\(failing) \(effect)")
                }
            }
        }
    }

    /// The step's place; the same step comes again after a kill, and the last proofs have the names of the first.
    private func machineIndex(_ step: RenewalStep, _ steps: [RenewalStep], after: Int) -> Int {
        if after >= 0, steps[after] == step { return after }
        return steps[max(0, after)...].firstIndex(of: step) ?? -1
    }

    @Test func aFailureOnTheWayBackIsSaidAndTheRestIsStillBroughtBack() {
        let (machine, node) = run(plan) { step, isGoingBack in
            if isGoingBack { return (step == .prove("kube-apiserver"), true) }
            return (step == .prove("kube-scheduler"), true)
        }
        #expect(machine.outcome == .stuck)
        #expect(node.allOld)
        #expect(node.holdsNew.values.allSatisfy { !$0 } && node.down == 0)
        #expect(machine.problem?.contains("kube-scheduler") == true)
        #expect(machine.notes.contains { $0.contains("kube-apiserver") })
    }

    @Test func expiredOnesAreNotBroughtBackButNothingStaysStopped() {
        var expired = plan
        expired.canGoBack = false
        for failing in RenewalMachine(expired).steps.all {
            let (machine, node) = run(expired) { step, isGoingBack in (!isGoingBack && step == failing, false) }
            if case .refreshCopy = failing { continue }
            #expect(machine.outcome == .leftForward)
            #expect(node.down == 0, "\(failing)")
            #expect(node.manifestIn.values.allSatisfy { $0 }, "\(failing)")
        }
    }

    @Test func aFinishedOneDoesNothingMore() {
        var (machine, _) = run(plan) { _, _ in (false, false) }
        let (again, late) = (machine.handle(.begin), machine.handle(.failed("late")))
        #expect(again == .finished(.done))
        #expect(late == .finished(.done))
    }
}
