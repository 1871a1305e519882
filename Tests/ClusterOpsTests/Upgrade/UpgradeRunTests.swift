import Platform
import Testing

@testable import ClusterOps

/// Whole upgrades of a simulated cluster of three control planes and five workers.
@Suite struct UpgradeRunTests {
    /// What must be so after every upgrade that came to its end, however often it was cut off.
    private func expectUpgraded(_ fleet: SimulatedFleet, except: Set<String> = []) {
        let state = fleet.state.withLock { $0 }
        for (name, machine) in state.machines where !except.contains(name) {
            #expect(machine.kubelet == fleet.new, "\(name)")
            #expect(machine.annotation == nil && !machine.isUnschedulable, "\(name)")
            #expect(machine.held == ["kubeadm", "kubelet"], "\(name)")
            if machine.isControlPlane { #expect(machine.apiserver == fleet.new, "\(name)") }
        }
        #expect(state.configured == fleet.new)
        #expect(state.mostCordoned <= 2)
        #expect(state.fewestHealthy["web"] ?? 5 >= 5)
    }

    private func first(_ log: [String], _ entry: String) -> Int { log.firstIndex(of: entry) ?? -1 }
    private func last(_ log: [String], _ entry: String) -> Int { log.lastIndex(of: entry) ?? -1 }

    @Test func controlPlaneFirstThenItsKubeletsThenWorkersTwoAtATime() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        try await fleet.begin(journal)
        let run = try await fleet.go(journal)
        #expect(run.state == .finished, "\(run)")
        expectUpgraded(fleet)
        let log = fleet.log
        #expect(log.filter { $0.hasSuffix(" apply") } == ["cp1 apply"])
        #expect(
            log.filter { $0.hasSuffix(" apply") || $0.hasSuffix(" node") }.prefix(3) == [
                "cp1 apply", "cp2 node", "cp3 node",
            ])
        let firstKubelet = first(log, "cp1 restart")
        for plane in ["cp2", "cp3"] { #expect(last(log, "\(plane) node") < firstKubelet) }
        #expect(last(log, "cp3 uncordon") < first(log, "w1 install kubeadm"))
        let cordoned = log.filter { $0.hasSuffix(" cordon") }.map { String($0.prefix { $0 != " " }) }
        // The two of a batch go side by side: either may be first.
        #expect(cordoned.prefix(3) == ["cp1", "cp2", "cp3"])
        try #require(cordoned.count == 8)
        #expect(Set(cordoned[3..<5]) == ["w1", "w2"] && Set(cordoned[5..<7]) == ["w3", "w4"])
        for worker in 1...5 {
            let steps = ["install kubeadm", "node", "cordon", "install kubelet", "restart", "uncordon"]
            let places = steps.map { first(log, "w\(worker) \($0)") }
            #expect(places == places.sorted() && !places.contains(-1))
            #expect(!log.contains("w\(worker) evict agent"))
        }
        #expect(fleet.state.withLock { $0.mostCordoned } == 2)
        // Six pods, five must stay: each waits for the one before.
        #expect(run.events.contains { $0.text.contains("a budget blocks default/web") })
    }

    @Test func aCordonOfOthersIsNeverTakenBack() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        fleet.change("w2") { $0.isUnschedulable = true }
        try await fleet.begin(journal)
        #expect(try await fleet.go(journal).state == .finished)
        expectUpgraded(fleet, except: ["w2"])
        let w2 = try #require(fleet.state.withLock { $0.machines["w2"] })
        #expect(w2.kubelet == fleet.new && w2.isUnschedulable && w2.annotation == nil)
    }

    @Test func aNodeThatDoesNotComeBackStopsItWithAllElseUntouched() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        fleet.change("w2") { $0.comesBack = false }
        try await fleet.begin(journal)
        let run = try await fleet.go(journal)
        #expect(run.state == .stopped)
        #expect(run.problem?.hasPrefix("w2: awaitReady: after 600 s: the kubelet reports v1.20.2") == true)
        // w1 was under way beside it and came to its end; nobody else was touched.
        let state = fleet.state.withLock { $0 }
        #expect(state.machines["w1"]?.kubelet == fleet.new && state.machines["w1"]?.isUnschedulable == false)
        #expect(state.machines["w2"]?.annotation == run.id)
        for name in ["w4", "w5"] {
            #expect(state.machines[name]?.kubeadm == fleet.old)
            #expect(!state.log.contains { $0.hasPrefix(name) })
        }
        // Repaired by hand, it goes on with that step.
        fleet.change("w2") {
            $0.comesBack = true; $0.kubelet = fleet.new; $0.readyAt = 0
        }
        #expect(try await fleet.go(resuming: journal).state == .finished)
        expectUpgraded(fleet)
    }

    @Test func abortLeavesNoCordonOfItsOwnAndAllOfOthers() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        fleet.change("w5") { $0.isUnschedulable = true }
        fleet.change("w2") { $0.comesBack = false }
        try await fleet.begin(journal)
        #expect(try await fleet.go(journal).state == .stopped)
        journal.ask(.abort)
        var machine = UpgradeMachine(try #require(try journal.load()))
        machine.ask(.abort, at: fleet.time.now)
        try journal.save(machine.run)
        #expect(try await fleet.go(journal).state == .aborted)
        let state = fleet.state.withLock { $0 }
        #expect(state.machines.values.allSatisfy { $0.annotation == nil })
        #expect(state.machines.filter(\.value.isUnschedulable).keys.sorted() == ["w5"])
    }

    @Test func abortInTheMidstOfADrainEndsIt() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        // Nothing may leave.
        fleet.state.withLock { $0.minimum["web"] = 6 }
        try await fleet.begin(journal, overrides: ["budgets"])
        let run = try await fleet.go(journal) {
            await fleet.done("w1 cordon")
            journal.ask(.abort)
        }
        #expect(run.state == .aborted)
        #expect(fleet.state.withLock { $0.machines.values.allSatisfy { !$0.isUnschedulable } })
    }

    @Test func pauseLetsTurnsEndAndResumeGoesOn() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        try await fleet.begin(journal)
        let paused = try await fleet.go(journal) {
            await fleet.done("cp2 node")
            journal.ask(.pause)
        }
        #expect(paused.state == .paused)
        #expect(fleet.log.contains("cp1 restart") == false)
        #expect(fleet.state.withLock { $0.machines.values.allSatisfy { !$0.isUnschedulable } })
        #expect(try await fleet.go(resuming: journal).state == .finished)
        expectUpgraded(fleet)
    }

    @Test func aBudgetThatNeverAllowsIsNamedBeforeAnythingIsTouched() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        fleet.state.withLock { $0.minimum["web"] = 6 }
        let error = await #expect(throws: UpgradeError.self) { try await fleet.begin(journal) }
        #expect(error?.kind == .refused && error?.gates == ["budgets"])
        #expect(error?.message.contains("budget default/web never allows an eviction") == true)
        #expect(fleet.log == [])
    }

    @Test func aBudgetThatBlocksTooLongStopsOrIsForcedAsToldAlone() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        fleet.state.withLock { $0.minimum["web"] = 6 }
        try await fleet.begin(journal, overrides: ["budgets"])
        let run = try await fleet.go(journal)
        #expect(run.state == .stopped)
        #expect(run.problem?.contains("a budget blocks default/web") == true)
        #expect(!fleet.log.contains { $0.contains("delete") })

        let forced = SimulatedFleet(), forcedJournal = MemoryJournal(forced)
        forced.state.withLock { $0.minimum["web"] = 6 }
        var options = forced.options
        options.drain.forcesAtTimeout = true
        try await forced.begin(forcedJournal, options: options, overrides: ["budgets"])
        let end = try await forced.go(forcedJournal, options: options)
        #expect(end.state == .finished, "\(end.problem ?? "")")
        #expect(forced.log.contains("w1 delete web"))
    }

    @Test func aPodThatNeverEndsStopsIt() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        fleet.add("stuck", node: "w1")
        fleet.state.withLock { $0.pods[$0.pods.count - 1].isStuck = true }
        try await fleet.begin(journal)
        let run = try await fleet.go(journal)
        #expect(run.state == .stopped)
        #expect(run.problem?.contains("pods do not end within 300 s: default/stuck") == true)
    }

    @Test func podsThatWouldBeLostAreNamedBeforeAnythingIsTouched() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        fleet.add("alone", node: "w3", kind: nil)
        fleet.add("cache", node: "w4") { $0.hasEmptyDir = true }
        let error = await #expect(throws: UpgradeError.self) { try await fleet.begin(journal) }
        #expect(error?.message.contains("has no controller") == true)
        #expect(error?.message.contains("keeps data in an emptyDir") == true)
        #expect(fleet.log == [])
        var options = fleet.options
        options.drain.forcesUnmanaged = true
        options.drain.deletesEmptyDirData = true
        try await fleet.begin(journal, options: options)
        #expect(try await fleet.go(journal, options: options).state == .finished)
    }

    @Test func missingPackagesAndMachinesAreToldOfAllNodesBeforeTheFirstIsTouched() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        fleet.change("w5") { $0.lacks = ["kubelet"] }
        fleet.change("cp3") {
            $0.error = ExecutorError(.hostKeyChanged, host: "cp3", "another host key than the known one")
        }
        fleet.change("w1") { $0.error = ExecutorError(.unreachable, host: "w1", "No route to host") }
        let error = await #expect(throws: UpgradeError.self) { try await fleet.begin(journal) }
        #expect(error?.kind == .refused && error?.gates == [])
        for text in ["w5: no package kubelet of v1.20.3", "cp3: another host key", "w1: No route to host"] {
            #expect(error?.message.contains(text) == true)
        }
        #expect(fleet.log == [] && journal.saves == 0)
    }

    @Test func aHostKeyThatChangesMidwayStopsIt() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        try await fleet.begin(journal)
        fleet.change("cp2") {
            $0.error = ExecutorError(.hostKeyChanged, host: "cp2", "another host key than the known one")
        }
        let run = try await fleet.go(journal)
        #expect(run.state == .stopped && run.problem?.contains("another host key") == true)
        #expect(!fleet.log.contains { $0.hasPrefix("w") || $0.hasPrefix("cp3") })
    }

    @Test func kubeadmThatDoesNothingAndSaysDoneIsNotBelieved() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        fleet.state.withLock { $0.kubeadmDoesNothing = true }
        try await fleet.begin(journal)
        let run = try await fleet.go(journal)
        #expect(run.state == .stopped)
        #expect(run.problem?.contains("kube-apiserver runs k8s.gcr.io/kube-apiserver:v1.20.2, not v1.20.3") == true)
        #expect(run.events.contains { $0.text.contains("kubeadm printed nothing") })
        #expect(!fleet.log.contains { $0.hasPrefix("cp2") })
    }

    @Test func kubeadmThatFailsOnceIsRunAgainAndTwiceStops() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        fleet.state.withLock { $0.kubeadmFailures = 1 }
        try await fleet.begin(journal)
        #expect(try await fleet.go(journal).state == .finished)
        let other = SimulatedFleet(), otherJournal = MemoryJournal(other)
        other.state.withLock { $0.kubeadmFailures = 2 }
        try await other.begin(otherJournal)
        let run = try await other.go(otherJournal)
        #expect(run.state == .stopped && run.problem?.contains("FATAL: timed out") == true)
    }

    @Test func anApiServerThatStaysAwayStopsItWithinBounds() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        try await fleet.begin(journal)
        let begun = fleet.time.now
        fleet.state.withLock { $0.outageAtStep = ("cordon", 7_200_000) }
        let run = try await fleet.go(journal)
        #expect(run.state == .stopped && run.problem?.contains("away for 15 min") == true)
        #expect(fleet.time.now - begun < 3_600_000)
    }

    @Test func aMachineThatIsAwayForAWhileIsWaitedFor() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        try await fleet.begin(journal)
        fleet.change("w3") { $0.error = ExecutorError(.unreachable, host: "w3", "No route to host") }
        let run = try await fleet.go(journal) {
            await fleet.done("w1 uncordon")
            try await fleet.time.sleep(550_000)
            fleet.change("w3") { $0.error = nil }
        }
        #expect(run.state == .finished)
        #expect(run.events.contains { $0.node == "w3" && $0.text.contains("waits for the machine: No route to host") })
    }

    @Test func aNodeThatLeavesBeforeItsTurnIsPassedOverAndInItStopsTheRun() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        try await fleet.begin(journal)
        fleet.change("w4") { $0.isInCluster = false }
        let run = try await fleet.go(journal)
        #expect(run.state == .finished)
        #expect(run.visits.first { $0.node == "w4" }?.note == "left the cluster: passed over")

        let other = SimulatedFleet(), otherJournal = MemoryJournal(other)
        try await other.begin(otherJournal)
        let stopped = try await other.go(otherJournal) {
            await other.done("w2 cordon")
            other.change("w2") { $0.isInCluster = false }
        }
        #expect(stopped.state == .stopped)
        #expect(try await other.go(resuming: otherJournal).state == .finished)
        expectUpgraded(other, except: ["w2"])
    }

    @Test func aNodeThatJoinsMeanwhileIsNamed() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        try await fleet.begin(journal)
        fleet.state.withLock { $0.machines["w9"] = $0.machines["w1"] }
        let run = try await fleet.go(journal)
        #expect(run.state == .finished)
        #expect(run.events.contains { $0.text.contains("joined meanwhile and not upgraded: w9") })
    }

    @Test func healthChecksStopIt() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        var options = fleet.options
        options.health = [
            .init(.http(url: "http://shop/health?key=x", method: "GET", headers: [], body: "", statuses: []))
        ]
        try await fleet.begin(journal, options: options)
        var context = fleet.context(options)
        context.sendHTTP = { _, _ in fleet.log.contains("w1 restart") ? 503 : 200 }
        let run = try await fleet.go(journal, context: context)
        #expect(run.state == .stopped)
        #expect(run.problem?.contains("http://shop/health answers 503") == true)
        #expect(run.problem?.contains("key=x") == false)
        #expect(!fleet.log.contains { $0.hasPrefix("w3") })
    }

    @Test func stagingNodesGoFirstAndMustStayWell() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        var options = fleet.options
        options.staging = ["w4"]
        try await fleet.begin(journal, options: options)
        let end = try await fleet.go(journal, options: options) {
            await fleet.done("w4 uncordon")
            let done = fleet.time.now
            await fleet.done("w1 ")
            #expect(fleet.time.now - done >= 590_000)
        }
        #expect(end.state == .finished)

        let ill = SimulatedFleet(), illJournal = MemoryJournal(ill)
        try await ill.begin(illJournal, options: options)
        let run = try await ill.go(illJournal, options: options) {
            await ill.done("w4 uncordon")
            ill.change("w4") { $0.readyAt = nil }
        }
        #expect(run.state == .stopped && run.problem?.contains("staging node w4 is no longer Ready") == true)
        #expect(!ill.log.contains { $0.hasPrefix("w1 ") })
    }

    @Test func gatesRefuseAndCanBeOverridden() async throws {
        let fleet = SimulatedFleet(), journal = MemoryJournal(fleet)
        let gate = UpgradeGate("backup") { "the newest verified backup is 3 d old" }
        let error = await #expect(throws: UpgradeError.self) { try await fleet.begin(journal, gates: [gate]) }
        #expect(error?.kind == .refused && error?.gates == ["backup"])
        #expect(error?.message.contains("override with --force backup") == true)
        try await fleet.begin(journal, gates: [gate], overrides: ["backup"])
        #expect(journal.saves == 1)
    }

    @Test func hooksAreGivenNodeAndTarget() async throws {
        let fleet = SimulatedFleet(controlPlanes: 1, workers: 2), journal = MemoryJournal(fleet)
        var options = fleet.options
        options.snapshotHook = .init(.command(["snapshot", "{cluster}"], onNode: false))
        options.beforeNode = .init(.command(["before", "{node}", "{target}"], onNode: false))
        options.afterNode = .init(.command(["after", "{node}"], onNode: false))
        try await fleet.begin(journal, options: options)
        let here = ScriptedExecutor("here") { _ in CommandResult(status: 0) }
        var context = fleet.context(options)
        context.here = here
        #expect(try await fleet.go(journal, context: context).state == .finished)
        let said = here.commands.map { $0.arguments.joined(separator: " ") }
        #expect(said.first == "snapshot sim")
        #expect(said.contains("before w1 v1.20.3") && said.contains("after w2"))
        #expect(here.commands.allSatisfy { !$0.needsRoot })
    }
}
