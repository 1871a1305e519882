import ClusterOps
import Platform

/// The watch over this node's certificates and the job that renews them.
struct CertificateParts: Sendable {
    let watch: CertificateWatch
    let job: CertificateJob

    init(_ options: CertificateOptions?, metrics: MetricRegistry, clock: WallClock) {
        let options = options ?? CertificateOptions()
        watch = CertificateWatch(CertificateInventory(layout: options.renewal.layout), metrics: metrics, clock: clock)
        job = CertificateJob(
            options.renewal, metrics: metrics, clock: clock,
            makeTurn: { RestartTurn(node: hostName(), kubeconfig: $0.kubernetesDirectory + "/admin.conf") })
        apply(options)
    }

    func apply(_ options: CertificateOptions?) {
        let options = options ?? CertificateOptions()
        watch.apply(CertificateInventory(layout: options.renewal.layout), warnBefore: options.renewal.renewBefore)
        job.apply(options.renewal)
    }

    /// The job, where the configuration asks for it. About this node alone: it never waits for a leader.
    func jobs(_ options: CertificateOptions?, clock: WallClock) throws -> [Job] {
        guard let options else { return [] }
        let schedule = try options.schedule.map { try makeSchedule($0, zone: options.timezone) }
        var job = Job(name: CertificateJob.name, schedule: schedule) { [self] context in
            let next = schedule?.next(after: clock.nowMilliseconds())
            do {
                let message = try await self.job.run(nextRun: next, log: context.log)
                await watch.look(atPorts: true)
                return message
            } catch {
                await watch.look(atPorts: true)
                throw error
            }
        }
        job.window = options.window
        // Several restarts, each with its own limits, and their way back.
        job.timeout = 2 * 3_600_000
        // Nodes with the same schedule do not all begin at once.
        job.jitter = 600_000
        job.isDueAtStart = { [self] in self.job.isUnfinished() }
        return [job]
    }
}
