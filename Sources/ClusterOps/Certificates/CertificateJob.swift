package import Platform

/// `certificates:` of the configuration.
package struct CertificateOptions: Sendable {
    package var schedule: String?
    package var timezone: String?
    package var window: MaintenanceWindow?
    package var renewal = RenewalOptions()

    package init() {}
}

/// The scheduled renewal: finishes one that was cut off, renews what is due, and says what came of it. Thread-safe.
package final class CertificateJob: Sendable {
    package static let name = "certificates"

    /// What the last renewal failed with, told as a metric until one goes well.
    private struct Trouble {
        var step: String
        var reason: String
        var outcome: RenewalMachine.Outcome
    }

    private let options: Lock<RenewalOptions>
    private let clock: WallClock
    private let trouble: Lock<Trouble?>
    private let lastSuccess: Gauge
    private let limits: StaticPodLimits
    private let makeTurn: @Sendable (KubeadmLayout) -> RestartTurn?

    /// `makeTurn` gives what keeps nodes from restarting their components at the same time.
    package init(
        _ options: RenewalOptions, metrics: MetricRegistry, clock: WallClock,
        limits: StaticPodLimits = StaticPodLimits(),
        makeTurn: @escaping @Sendable (KubeadmLayout) -> RestartTurn? = { _ in nil }
    ) {
        self.makeTurn = makeTurn
        self.options = Lock(options)
        self.clock = clock
        self.limits = limits
        trouble = Lock(nil)
        lastSuccess = metrics.gauge(
            "kops_certificate_renewal_last_success_timestamp_seconds",
            "When the renewal of this node's certificates last ended well, also where nothing was due.")
        if let last = (try? CertificateRenewal(options).last()) ?? nil { remember(last) }
        metrics.onCollect { [trouble] writer in
            guard let trouble = trouble.withLock({ $0 }) else { return }
            writer.write(
                "kops_certificate_renewal_failed", "Always 1: why the last renewal of certificates failed.",
                labels: [("step", trouble.step), ("reason", trouble.reason), ("outcome", trouble.outcome.rawValue)], 1)
        }
    }

    package func apply(_ options: RenewalOptions) { self.options.withLock { $0 = options } }

    package var renewal: CertificateRenewal {
        var renewal = CertificateRenewal(options.withLock { $0 })
        renewal.limits = limits
        return renewal
    }

    /// Whether a renewal waits to be resumed. Blocks.
    package func isUnfinished() -> Bool { renewal.isUnfinished() }

    /// One run. `nextRun` is when the next would be.
    package func run(nextRun: Int64?, log: @escaping @Sendable (String) -> Void) async throws -> String {
        var renewal = renewal
        renewal.turn = makeTurn(renewal.options.layout)
        renewal.tell = log
        renewal.announce = { log("\($0)") }
        if let resumed = try await renewal.resume() {
            log("resumed the renewal of \(resumed.plan.id)")
            return try finish(resumed, log)
        }
        let now = clock.nowMilliseconds()
        let options = renewal.options
        let decision = try await WorkerPool.blocking.run { options.decide(now: now, nextRun: nextRun) }
        for note in decision.notes { log(note) }
        for line in decision.blocked { log(line) }
        var message = "nothing is due"
        if !decision.plan.items.isEmpty { message = try finish(try await renewal.run(decision.plan), log) }
        if !decision.blocked.isEmpty {
            throw JobError("\(message); not to be renewed: \(decision.blocked.joined(separator: "; "))")
        }
        lastSuccess.set(Double(clock.nowMilliseconds()) / 1000)
        return message
    }

    private func finish(_ machine: RenewalMachine, _ log: (String) -> Void) throws -> String {
        for note in machine.notes { log(note) }
        remember(machine)
        return try Self.summary(machine)
    }

    private func remember(_ machine: RenewalMachine) {
        trouble.withLock { trouble in
            guard let problem = machine.problem else {
                if machine.outcome == .done { trouble = nil }
                return
            }
            trouble = Trouble(
                step: machine.failedStep?.description ?? "", reason: String(problem.prefix(300)),
                outcome: machine.outcome)
        }
    }

    /// One line; throws where the renewal did not go well.
    package static func summary(_ machine: RenewalMachine) throws -> String {
        let renewed = "renewed \(machine.plan.items.map(\.name).joined(separator: ", "))"
        let restarted =
            machine.plan.components.isEmpty ? "" : "; restarted \(machine.plan.components.joined(separator: ", "))"
        let problem = machine.problem ?? ""
        switch machine.outcome {
        case .done:
            guard problem.isEmpty else { throw JobError("\(renewed)\(restarted), but \(problem)") }
            return renewed + restarted
        case .rolledBack: throw JobError("\(problem). The old certificates are back and proven")
        case .stuck:
            let rest = machine.notes.filter { $0.hasPrefix("on the way back") }.joined(separator: "; ")
            throw JobError("\(problem). The way back failed too (\(rest)): look at this node now")
        case .leftForward:
            throw JobError("\(problem). The old certificates had expired, so the new ones stay: look at this node now")
        case .running: throw JobError("the renewal was cut off")
        }
    }
}
