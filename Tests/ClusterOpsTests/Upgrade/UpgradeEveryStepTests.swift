import Platform
import Testing

@testable import ClusterOps

/// What goes wrong, going wrong at every step that the journal of a whole upgrade holds: three control planes and five workers,
/// with every hook, health checks and staging, so that no kind of step is left out. Somebody else has cordoned w5.
@Suite(.serialized) struct UpgradeEveryStepTests {
    /// A visit's step, as the journal has it.
    private struct Moment: Hashable, CustomStringConvertible {
        var visit: Int
        var node: String
        var step: UpgradeRun.Step
        var description: String { "\(node) \(step.rawValue) (visit \(visit))" }
    }

    private static func moments(_ run: UpgradeRun, _ wanted: (UpgradeRun.Visit) -> Bool) -> Set<Moment> {
        Set(
            run.visits.indices.filter { wanted(run.visits[$0]) }.compactMap { index in
                run.visits[index].step.map { Moment(visit: index, node: run.visits[index].node, step: $0) }
            })
    }

    private static func allMoments(_ run: UpgradeRun) -> Set<Moment> {
        Set(
            run.visits.indices.flatMap { index in
                run.visits[index].steps.map { Moment(visit: index, node: run.visits[index].node, step: $0) }
            })
    }

    private struct Bench {
        let fleet = SimulatedFleet()
        let journal: MemoryJournal
        var options: UpgradeOptions

        init() async throws {
            journal = MemoryJournal(fleet)
            fleet.change("w5") { $0.isUnschedulable = true }
            options = fleet.options
            options.snapshotHook = .init(.command(["snapshot"], onNode: false))
            options.beforeNode = .init(.command(["before", "{node}"], onNode: false))
            options.afterNode = .init(.command(["after", "{node}"], onNode: false))
            options.health = [.init(.http(url: "http://shop/", method: "GET", headers: [], body: "", statuses: []))]
            options.staging = ["w4"]
            // Each second of it is a turn of the runner's loop.
            options.stagingTime = 20_000
            try await fleet.begin(journal, options: options)
        }

        var context: UpgradeContext {
            var context = fleet.context(options)
            context.here = ScriptedExecutor("here") { [fleet] _ throws(ExecutorError) in
                if fleet.state.withLock({ $0.isDead }) { throw ExecutorError(.notStarted, host: "here", "killed") }
                return CommandResult(status: 0)
            }
            return context
        }

        func go() async throws -> UpgradeRun { try await fleet.go(journal, context: context) }

        func goResuming() async throws -> UpgradeRun {
            var machine = UpgradeMachine(try #require(try journal.load()))
            machine.resume(at: fleet.time.now)
            try journal.save(machine.run)
            return try await go()
        }

        /// Does something as soon as a step is written down, before it is done.
        func at(_ moment: Moment, _ body: @escaping @Sendable () -> Void) {
            let isDone = Lock(false)
            journal.observe { _, run in
                guard moments(run, { $0.status == .active }).contains(moment),
                    isDone.withLock({ done in
                        defer { done = true }
                        return !done
                    })
                else { return }
                body()
            }
        }

        /// What must be so after every upgrade that came to its end.
        func expectUpgraded(except: Set<String> = [], _ what: String) {
            let state = fleet.state.withLock { $0 }
            for (name, machine) in state.machines where !except.contains(name) {
                #expect(machine.kubelet == fleet.new, "\(what): \(name)")
                #expect(machine.annotation == nil && machine.isUnschedulable == (name == "w5"), "\(what): \(name)")
                #expect(machine.held == ["kubeadm", "kubelet"], "\(what): \(name)")
                if machine.isControlPlane { #expect(machine.apiserver == fleet.new, "\(what): \(name)") }
            }
            if !except.contains("cp1") {
                #expect(state.configured == fleet.new, "\(what)")
                #expect(state.log.filter { $0.hasSuffix(" apply") }.allSatisfy { $0 == "cp1 apply" }, "\(what)")
            }
            #expect(state.mostCordoned <= 2, "\(what)")
            // A machine that vanishes takes its pods with it, whoever asks the budget.
            if except.isEmpty { #expect(state.fewestHealthy["web"] ?? 5 >= 5, "\(what)") }
        }

        func expectOnlyTheCordonOfOthers(_ what: String) {
            let state = fleet.state.withLock { $0 }
            #expect(state.machines.values.allSatisfy { $0.annotation == nil }, "\(what)")
            #expect(state.machines.filter(\.value.isUnschedulable).keys.sorted() == ["w5"], "\(what)")
        }
    }

    /// How an upgrade goes that nothing disturbs: its writes, and the commands it sends.
    private func undisturbed() async throws -> (run: UpgradeRun, writes: Int, commands: ClosedRange<Int>) {
        let bench = try await Bench()
        let before = bench.fleet.state.withLock { $0.commands }
        let run = try await bench.go()
        #expect(run.state == .finished, "\(run)")
        bench.expectUpgraded("undisturbed")
        return (run, bench.journal.saves, before + 1...bench.fleet.state.withLock { $0.commands })
    }

    @Test func everyKindOfStepIsThere() async throws {
        let steps = Set(Self.allMoments(try await undisturbed().run).map(\.step))
        #expect(
            steps == [
                .snapshotHook, .beforeHook, .kubeadmPackage, .kubeadmUpgrade, .proveControlPlane, .cordon, .drain,
                .kubeletPackage, .restartKubelet, .awaitReady, .health, .uncordon, .afterHook, .soak, .proveCluster,
            ])
    }

    @Test func killedAtEveryWriteOfTheJournalItComesToTheSameEnd() async throws {
        let (whole, writes, _) = try await undisturbed()
        var killedAt: Set<Moment> = []
        // The first write is the run's own, before anything goes on.
        for write in 2...writes {
            // A write that was lost leaves what the one before left, but for what was done in between: some of each kind.
            for keeps in write % 3 == 0 ? [true, false] : [true] {
                let bench = try await Bench()
                bench.journal.die(at: write, keepingIt: keeps)
                await #expect(throws: SimulatedFleet.Dead.self, "write \(write)") { try await bench.go() }
                if let left = try bench.journal.load() {
                    killedAt.formUnion(Self.moments(left) { $0.status == .active })
                }
                let run = try await bench.go()
                #expect(run.state == .finished, "write \(write), kept \(keeps): \(run.problem ?? "")")
                bench.expectUpgraded("write \(write), kept \(keeps)")
            }
        }
        #expect(killedAt == Self.allMoments(whole), "each step of each visit was under way at some kill")
    }

    @Test func killedAfterEveryCommandItComesToTheSameEnd() async throws {
        for command in try await undisturbed().commands {
            let bench = try await Bench()
            bench.fleet.state.withLock { $0.diesAfterCommand = command }
            await #expect(throws: (any Error).self, "command \(command)") { try await bench.go() }
            bench.fleet.state.withLock { $0.diesAfterCommand = nil }
            let run = try await bench.go()
            #expect(run.state == .finished, "command \(command): \(run.problem ?? "")")
            bench.expectUpgraded("command \(command)")
        }
    }

    @Test func anApiServerThatIsAwayForTenMinutesAtAnyStepIsWaitedFor() async throws {
        for moment in Self.allMoments(try await undisturbed().run) {
            let bench = try await Bench()
            bench.at(moment) { [fleet = bench.fleet] in
                fleet.state.withLock { $0.awayUntil = fleet.time.now + 600_000 }
            }
            let run = try await bench.go()
            #expect(run.state == .finished, "\(moment): \(run.problem ?? "")")
            bench.expectUpgraded("\(moment)")
        }
    }

    /// Its object and its machine are gone for good.
    @Test func aNodeThatVanishesAtAnyStepStopsItOrIsPassedOverAndTheRestIsUpgraded() async throws {
        for moment in Self.allMoments(try await undisturbed().run) where !moment.node.isEmpty {
            let bench = try await Bench()
            bench.at(moment) { [fleet = bench.fleet] in
                fleet.change(moment.node) {
                    $0.isInCluster = false
                    $0.error = ExecutorError(.unreachable, host: moment.node, "No route to host")
                }
            }
            var run = try await bench.go()
            if run.state == .stopped {
                #expect(run.problem?.hasPrefix("\(moment.node): ") == true, "\(moment): \(run.problem ?? "")")
                // Beside it only the other one of its batch was under way.
                #expect(run.visits.count { $0.status == .failed } == 1, "\(moment)")
                #expect(run.visits.allSatisfy { $0.status != .active }, "\(moment)")
                run = try await bench.goResuming()
            }
            #expect(run.state == .finished, "\(moment): \(run.problem ?? "")")
            bench.expectUpgraded(except: [moment.node], "\(moment)")
        }
    }

    /// The node stays in the cluster, and its machine never answers again.
    @Test func aMachineThatDiesAtAnyStepStopsItWithinBoundsAndAbortLeavesNoCordon() async throws {
        for moment in Self.allMoments(try await undisturbed().run) where !moment.node.isEmpty {
            let bench = try await Bench()
            let died = Lock<Int64?>(nil)
            bench.at(moment) { [fleet = bench.fleet] in
                died.withLock { $0 = fleet.time.now }
                fleet.change(moment.node) {
                    $0.readyAt = nil
                    $0.comesBack = false
                    $0.error = ExecutorError(.unreachable, host: moment.node, "No route to host")
                }
            }
            let run = try await bench.go()
            #expect(run.state == .stopped, "\(moment): \(run.state)")
            let begun = try #require(died.withLock { $0 })
            // Each node's own bounds once over, however many steps its partner in the batch still has.
            #expect(bench.fleet.time.now - begun < 5_400_000, "\(moment)")
            let kubelets = bench.fleet.state.withLock { $0.machines.mapValues(\.kubelet) }
            let notBegun = run.visits.filter { $0.status == .waiting && $0.kind == .worker }.map(\.node)
            #expect(notBegun.allSatisfy { kubelets[$0] == bench.fleet.old }, "\(moment)")
            bench.journal.ask(.abort)
            var machine = UpgradeMachine(run)
            machine.ask(.abort, at: bench.fleet.time.now)
            try bench.journal.save(machine.run)
            #expect(try await bench.go().state == .aborted, "\(moment)")
            bench.expectOnlyTheCordonOfOthers("\(moment)")
        }
    }

    @Test func abortAtAnyStepLeavesNoCordonOfItsOwnAndThatOfOthers() async throws {
        for moment in Self.allMoments(try await undisturbed().run) {
            let bench = try await Bench()
            bench.at(moment) { [journal = bench.journal] in journal.ask(.abort) }
            let run = try await bench.go()
            // Asked at the very last step, it is over before the request is seen.
            #expect(run.state == (moment.step == .proveCluster ? .finished : .aborted), "\(moment)")
            bench.expectOnlyTheCordonOfOthers("\(moment)")
        }
    }

    /// Killed while it takes its cordons back, it goes on taking them back.
    @Test func abortThatIsKilledGoesOn() async throws {
        let moments = Self.allMoments(try await undisturbed().run).filter { $0.step == .drain }
        for moment in moments {
            let bench = try await Bench()
            bench.at(moment) { [journal = bench.journal] in journal.ask(.abort) }
            let whole = try await bench.go()
            #expect(whole.state == .aborted)
            let writes = bench.journal.saves
            for write in (writes - 3)...writes {
                for keeps in [true, false] {
                    let again = try await Bench()
                    again.at(moment) { [journal = again.journal] in journal.ask(.abort) }
                    again.journal.die(at: write, keepingIt: keeps)
                    await #expect(throws: SimulatedFleet.Dead.self) { try await again.go() }
                    let left = try #require(try again.journal.load())
                    // Killed before the request was written down, it was never asked.
                    if left.state != .aborting, left.state != .aborted { again.journal.ask(.abort) }
                    if left.state != .aborted { #expect(try await again.go().state == .aborted, "\(moment)") }
                    again.expectOnlyTheCordonOfOthers("\(moment), write \(write)")
                }
            }
        }
    }
}
