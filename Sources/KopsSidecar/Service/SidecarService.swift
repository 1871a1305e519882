import ClusterOps
import Glibc
package import Logging
import MetricModel
import Monitoring
import Platform
import PromQL
import ServiceLifecycle
import TSDB
import UnixSignals

/// What `run` is started with, beside the file.
package struct RunOptions: Sendable {
    /// Nil: the built-in default configuration.
    package var configPath: String?
    package var dataDirectory: String?
    /// HOST:PORT in place of the file's.
    package var listen: String?
    package var insecureListen = false
    package var enableRemoteWriteReceiver = false
    package var enableAdminAPI = false

    package init() {}
}

/// Why the service cannot start: lines for standard error.
package struct StartFailure: Error, Sendable {
    package enum Kind: Sendable { case configuration, refused, failed }

    package let kind: Kind
    package let lines: [String]
}

/// The whole sidecar: opens the store, wires collector, rules, notifications, jobs and the API around it, and keeps them to
/// the configuration. docs/architecture.md draws it.
package final class SidecarService: Sendable {
    struct Current {
        var config: SidecarConfig
        var backup: BackupService?
        var reloadedAt: Int64
        var reloadSucceeded = true
        var isReady = false
    }

    private let options: RunOptions
    private let hangups: UnixSignalsSequence
    let clock: WallClock
    let metrics: MetricRegistry
    let log: Logger
    private let store: Store
    private let scraper: ScrapeManager
    private let collector: ClusterCollector
    private let rules: RuleManager
    private let remoteWrite: RemoteWriteManager
    /// Answers queries and rules in place of the local store.
    private let remoteEngine: RemoteEngine?
    let jobs: JobRunner
    let leadership: Leadership
    let audit: AuditTrail
    let events: ClusterEventKeeper
    private let lines: LineFiles
    private let queryLog: QueryLog
    private let notifications: NotificationService
    private let outlets: AlertOutlets
    private let notifier: HTTPClient
    private let http: HTTPClient
    private let queries: WorkerPool
    let current: Lock<Current>
    private let supervisor: ServiceManager
    let upgrade: UpgradeService
    let examined = Lock<DoctorReport?>(nil)
    private let certificates: CertificateParts
    private let reloads = AsyncLock()
    let access: WebAccess
    private let querySource: QuerySource
    /// Put the parts' files in order, so that none of SQLite's companions stays; the trail last, for it tells of the others.
    private let closers: [@Sendable () async -> Void]

    /// Loads the configuration and opens the store. Nothing is scraped or listened on before `run`.
    package init(_ options: RunOptions, makeLogger: (LogConfig) -> Logger) async throws {
        // From the first moment on: a hangup ends a process that does not expect it. One that comes meanwhile is a reload later.
        hangups = await UnixSignalsSequence(trapping: .sighup)
        self.options = options
        let config: SidecarConfig
        do {
            config = try Self.load(options)
        } catch {
            throw StartFailure(kind: .configuration, lines: error.lines)
        }
        let security = config.http
        if !security.isLoopback, !security.authenticates, !options.insecureListen {
            throw StartFailure(
                kind: .refused,
                lines: [
                    "refused: listening on \(security.host):\(security.port) without authentication lets everybody in; "
                        + "configure http.web_config_file or http.token_files, or override with --insecure-listen"
                ])
        }
        let log = makeLogger(config.log)
        do {
            access = try WebAccess(config.http, log: log)
        } catch {
            throw StartFailure(kind: .configuration, lines: ["\(error)"])
        }
        let clock = WallClock.system
        let metrics = MetricRegistry()
        metrics.addProcessMetrics()
        metrics.gauge(
            "kops_build_info", "Always 1; the version is in the label.", labels: [("version", productVersion)]
        ).set(1)
        do {
            try FileSystem.makeDirectories(config.storage.path)
            var storeOptions = StoreOptions(path: config.storage.path)
            storeOptions.retentionTime = config.storage.retentionTime
            storeOptions.retentionSize = config.storage.retentionSize
            storeOptions.minimumFree = config.storage.minimumFree
            storeOptions.outOfOrderWindow = config.storage.outOfOrderWindow
            storeOptions.maxSeries = config.storage.maxSeries
            store = try Store(options: storeOptions, clock: clock, metrics: metrics, log: log)
            leadership = makeLeadership(
                config.jobs, kubeconfig: config.cluster.kubeconfig, clock: clock, metrics: metrics, log: log)
            audit = try AuditTrail(
                path: AuditTrail.path(in: config.storage.path), clock: clock, metrics: metrics, log: log)
            jobs = try JobRunner(
                path: FileSystem.resolve("jobs.sqlite", in: config.storage.path), clock: clock, metrics: metrics,
                log: log, isLeader: { [leadership] in leadership.isLeader },
                ended: { [audit] in audit.record(run: $0) })
        } catch {
            throw StartFailure(kind: .failed, lines: ["\(error)"])
        }
        let http = HTTPClient(name: "kops-http", maxConnectionsPerHost: 4)
        let queries = WorkerPool(name: "kops-query", threads: max(2, processorCount()), queueLimit: 200)
        var engineOptions = EngineOptions()
        engineOptions.defaultSubqueryStep = config.global.evaluationInterval
        engineOptions.parallel = sharedWork(threads: processorCount()) { queries.submit($0) }
        let engine = Engine(engineOptions)
        let notifier = HTTPClient(name: "kops-notify", maxConnectionsPerHost: 8)
        let notifications: NotificationService
        do {
            let configured = try config.effectiveNotifications()
            notifications = try NotificationService(
                config: configured.alertmanager, templates: configured.templates,
                storePath: FileSystem.resolve("notifications.sqlite", in: config.storage.path),
                externalURL: Self.externalURL(config.http), client: notifier, clock: clock, metrics: metrics, log: log)
        } catch {
            throw StartFailure(kind: .failed, lines: ["notifications: \(error)"])
        }
        let external = Lock(config.global.externalLabels)
        let clusters = makeClusterHub(clock: clock, metrics: metrics, log: log)
        do {
            events = try ClusterEventKeeper(
                path: ClusterEventStore.path(in: config.storage.path), hub: clusters, clock: clock, metrics: metrics,
                log: log, isLeader: { [leadership] in leadership.isLeader })
        } catch {
            throw StartFailure(kind: .failed, lines: ["events: \(error)"])
        }
        collector = ClusterCollector(hub: clusters, appender: store, clock: clock, metrics: metrics, log: log)
        let discovery = DiscoveryEnvironment(
            client: http, clock: clock, log: log, metrics: metrics, clusters: clusters,
            parseTargets: { try parseTargetGroups($0, file: $1) })
        let outlets = AlertOutlets(
            notifications: notifications,
            sender: AlertSender(discovery: discovery, client: notifier, clock: clock, metrics: metrics, log: log),
            external: external)
        self.outlets = outlets
        let lines = LineFiles(metrics)
        self.lines = lines
        let queryLog = QueryLog(lines, clock: clock)
        self.queryLog = queryLog
        var scraping = ScrapeEnvironment(
            appender: store, client: http, discovery: discovery,
            clock: clock, metrics: metrics, log: log, ownMetrics: { metrics.expose() },
            userAgent: "kops-sidecar/\(productVersion)")
        scraping.logFailure = { logFailedScrape(lines, clock, file: $0, job: $1, target: $2, problem: $3) }
        scraper = ScrapeManager(scraping)
        let remoteEngine = makeRemoteEngine(config, client: http, clock: clock)
        let querySource = QuerySource(config, store: store, client: http, clock: clock, metrics: metrics)
        self.querySource = querySource
        var ruleEnvironment = RuleEnvironment(
            engine: engine, source: remoteEngine ?? querySource.source, appender: store,
            notify: { outlets.send($0) }, clock: clock, metrics: metrics, log: log)
        if let remoteEngine { ruleEnvironment.evaluate = { try remoteEngine.evaluate($0, at: $1) } }
        ruleEnvironment.observe = { queryLog.add($0) }
        rules = RuleManager(ruleEnvironment)
        self.remoteEngine = remoteEngine
        remoteWrite = makeRemoteWrite(
            store, path: config.storage.path, client: http, scraper: scraper, clock: clock, metrics: metrics, log: log)
        self.notifications = notifications
        self.notifier = notifier
        self.external = external
        certificates = CertificateParts(config.certificates, metrics: metrics, clock: clock)
        self.clock = clock
        self.metrics = metrics
        self.log = log
        self.http = http
        self.queries = queries
        upgrade = UpgradeService(config, metrics: metrics, log: log, firing: firingAlerts(rules))
        supervisor = ServiceManager.fromEnvironment()
        current = Lock(Current(config: config, reloadedAt: clock.nowMilliseconds()))
        self.engine = engine
        closers = [
            { [store] in store.close() }, { [jobs] in await jobs.close() }, { [events] in await events.close() },
            { [audit] in await audit.close() },
        ]
        do {
            try apply(config)
        } catch {
            throw StartFailure(kind: .configuration, lines: ["\(error)"])
        }
    }

    private let engine: Engine
    /// What every alert that leaves says beside its own labels.
    private let external: Lock<Labels>

    private static func load(_ options: RunOptions) throws(ConfigProblems) -> SidecarConfig {
        var config = try SidecarConfig.load(options.configPath)
        if let directory = options.dataDirectory {
            config.storage.path = directory
            config.backup?.workDirectory = directory
        }
        if let listen = options.listen, let (host, port) = parseListenAddress(listen) {
            (config.http.host, config.http.port) = (host, port)
        }
        return config
    }

    /// Brings every part to a configuration that was found right.
    private func apply(_ config: SidecarConfig) throws {
        let backup = try makeBackupService(config)
        try lines.apply(config.logFiles)
        queryLog.apply(config.global.queryLogFile)
        for warning in config.warnings + config.http.web.warnings {
            log.warning("configuration", metadata: ["finding": "\(warning)"])
        }
        scraper.apply(config.scrapeConfigs)
        collector.apply(config.cluster.collector)
        external.withLock { $0 = config.global.externalLabels }
        let notify = try config.effectiveNotifications()
        notifications.apply(
            notify.alertmanager, templates: notify.templates, externalURL: Self.externalURL(config.http))
        outlets.sender.apply(config.alerting ?? AlertingConfig())
        rules.apply(
            config.ruleGroups, externalLabels: config.global.externalLabels, externalURL: Self.externalURL(config.http))
        remoteWrite.apply(config)
        upgrade.apply(config)
        certificates.apply(config.certificates)
        access.apply(config.http)
        if let note = querySource.apply(config) {
            log.warning("configuration", metadata: ["finding": "\(note)"])
        }
        audit.apply(
            retention: config.audit.retention, sinks: makeLogSinks(config, kind: "audit", client: notifier),
            origin: logOrigin(config))
        events.apply(clusterEventOptions(config, client: notifier))
        let all: [[Job]] = [
            try backupJobs(backup, config.backup), try etcdJobs(config.etcd), upgradeJobs(config),
            try doctorJobs(config), try certificates.jobs(config.certificates, clock: clock),
        ]
        jobs.apply(all.flatMap { $0 })
        current.withLock {
            $0.config = config
            $0.backup = backup
            $0.reloadedAt = clock.nowMilliseconds()
            $0.reloadSucceeded = true
        }
        publishReload(successful: true)
    }

    private static func externalURL(_ http: HTTPConfig) -> String {
        http.externalURL.isEmpty ? "\(http.scheme)://\(hostName()):\(http.port)" : http.externalURL
    }

    private func publishReload(successful: Bool) {
        metrics.gauge(
            "kops_config_last_reload_successful", "Whether the last attempt to load the configuration succeeded."
        ).set(successful ? 1 : 0)
        if successful {
            metrics.gauge(
                "kops_config_last_reload_success_timestamp_seconds",
                "When the configuration was last loaded with success."
            ).set(Double(clock.nowMilliseconds()) / 1000)
        }
    }

    /// Reads the file again. A bad one changes nothing; its findings are returned.
    private func reload() async -> [String] {
        await reloads.run { [self] in
            supervisor.reloading()
            defer { supervisor.ready("running") }
            do {
                let options = options
                let config = try await WorkerPool.blocking.run { try Self.load(options) }
                let before = current.withLock { $0.config }
                var findings: [String] = []
                if before.jobs != config.jobs { findings.append("jobs") }
                if before.storage.path != config.storage.path { findings.append("storage.path") }
                if before.storage.engine != config.storage.engine || before.storage.queryURL != config.storage.queryURL
                {
                    findings.append("storage.engine")
                }
                if before.http.port != config.http.port || before.http.host != config.http.host {
                    findings.append("http.listen")
                }
                for key in findings {
                    log.warning("this key takes effect at the next start only", metadata: ["key": "\(key)"])
                }
                try apply(config)
                log.info("configuration loaded", metadata: ["file": "\(config.path)"])
                audit.record(action: "reload", subject: config.path, succeeded: true)
                return []
            } catch {
                let lines = (error as? ConfigProblems)?.lines ?? ["\(error)"]
                for line in lines { log.error("configuration refused", metadata: ["finding": "\(line)"]) }
                audit.record(action: "reload", succeeded: false, detail: lines.joined(separator: "; "))
                current.withLock { $0.reloadSucceeded = false }
                publishReload(successful: false)
                return lines
            }
        }
    }

    // MARK: Backups

    private func makeBackupService(_ config: SidecarConfig) throws -> BackupService? {
        guard let backup = config.backup else { return nil }
        return BackupService(
            options: backup, etcd: config.etcd, destinations: makeDestinations(backup), registry: metrics,
            logger: log, clock: clock, toolVersion: productVersion)
    }

    private func backupJobs(_ service: BackupService?, _ options: BackupOptions?) throws -> [Job] {
        guard let service, let options else { return [] }
        var backup = Job(
            name: "backup", schedule: try options.schedule.map { try makeSchedule($0, zone: options.timezone) }
        ) { context in
            let result = try await service.backupNow(onDemand: context.onDemand)
            for outcome in result.outcomes {
                if let problem = outcome.problem { context.log("\(outcome.destination): \(problem)") }
            }
            let failed = result.outcomes.filter { $0.problem != nil }.map(\.destination)
            if !failed.isEmpty {
                throw JobError("not brought to \(failed.joined(separator: ", ")); it is at \(result.path)")
            }
            return result.skipped ? "nothing has changed since revision \(result.manifest.revision)" : result.path
        }
        backup.retries = 0
        service.metrics.setInterval(milliseconds: backup.schedule?.typicalInterval(at: clock.nowMilliseconds()) ?? 0)
        guard let text = options.drillSchedule else { return [backup] }
        let drill = Job(name: "drill", schedule: try makeSchedule(text, zone: options.timezone)) { [clock] _ in
            do {
                var drill = Drill(
                    destinations: service.destinations, workDirectory: options.workDirectory, clock: clock)
                drill.keyFile = options.sealing?.keyFile
                drill.kubernetesDirectory = options.kubernetesDirectory
                let report = try await drill.run(cluster: options.cluster)
                service.metrics.drilled(at: clock.nowMilliseconds(), seconds: report.recoverySeconds)
                if let name = report.backup.split(separator: " ").first {
                    BackupChecks.note(options.workDirectory, String(name), drilled: clock.nowMilliseconds())
                }
                return report.summary
            } catch {
                service.metrics.drillFailed()
                throw error
            }
        }
        return [backup, drill]
    }

    // MARK: Running

    /// Runs until SIGTERM or SIGINT. Throws `StartFailure` where the address is taken.
    package func run() async throws {
        let config = current.withLock { $0.config }
        let routes = RouteTable(
            makeRoutes(config), access: access, metrics: metrics, log: log,
            changed: { [audit] in audit.record(request: $0, status: $1) })
        let address = "\(config.http.host):\(config.http.port)"
        if let problem = addressProblem(config.http) {
            throw StartFailure(kind: .failed, lines: ["cannot listen on \(address): \(problem)"])
        }
        let server = makeHTTPServer(
            routes, access: access, options: HTTPServerOptions(host: config.http.host, port: config.http.port), log: log
        ) { [self] port in
            current.withLock { $0.isReady = true }
            log.info("listening", metadata: ["address": "\(config.http.host):\(port)"])
            supervisor.ready("running")
        }
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                // Ended from the last to the first: who takes something from another comes before it.
                services: [
                    .init(service: Part("store") { [store] in try await store.run() }),
                    .init(service: Part("scraper") { [scraper] in try await scraper.run() }),
                    .init(service: Part("cluster") { [collector] in await collector.run() }),
                    .init(service: Part("notifications") { [notifications] in try await notifications.run() }),
                    .init(service: Part("alertmanagers") { [outlets] in try await outlets.sender.run() }),
                    .init(service: Part("rules") { [rules] in try await rules.run() }),
                    .init(service: Part("remote-write") { [remoteWrite] in await remoteWrite.run() }),
                    // The lease is given up when no job of the cluster's runs here any more.
                    .init(service: Part("leadership") { [leadership] in await leadership.run() }),
                    .init(
                        service: Part("speaker") { [leadership, notifications] in
                            await followLeadership(leadership, notifications)
                        }),
                    .init(service: Part("jobs") { [jobs] in try await jobs.run() }),
                    .init(
                        service: Part("etcd") { [self] in
                            await etcdMonitor(metrics) { self.current.withLock { $0.config } }.run()
                        }),
                    .init(service: Part("log of changes") { [self] in await followChanges() }),
                    .init(service: Part("upgrade") { [self] in await goOnWithUpgrade() }),
                    .init(service: Part("audit") { [audit] in await audit.run() }),
                    .init(service: Part("events") { [events] in await events.run() }),
                    .init(service: Part("certificates") { [certificates] in await certificates.watch.run() }),
                    .init(service: Part("web access") { [access] in await access.follow() }),
                    .init(service: Part("housekeeping") { [self] in await housekeeping() }),
                    .init(service: server),
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: log))
        if let backup = current.withLock({ $0.backup }) { Task { await backup.observeStored() } }
        let reloading = Task { [self] in
            for await _ in hangups { _ = await reload() }
        }
        defer { reloading.cancel() }
        do {
            try await group.run()
        } catch {
            for close in closers { await close() }
            throw StartFailure(kind: .failed, lines: ["the service ended: \(error)"])
        }
        supervisor.stopping()
        for close in closers { await close() }
        log.info("stopped")
    }

    /// Tells systemd that the service lives, as often as it asks for.
    private func housekeeping() async {
        let beat = max(1000, (supervisor.watchdogMilliseconds ?? 20_000) / 2)
        while !Task.isCancelled {
            if supervisor.watchdogMilliseconds != nil { supervisor.alive() }
            try? await Task.sleep(for: .milliseconds(beat))
        }
    }

    private func makeRoutes(_ config: SidecarConfig) -> [Route] {
        var backend = QueryBackend(
            engine: engine, source: remoteEngine ?? querySource.source, clock: clock, metrics: metrics, pool: queries)
        backend.log = queryLog
        let status = StatusInformation(
            startedAt: clock.nowMilliseconds(),
            clusterName: { [current] in current.withLock { $0.config.cluster.name } },
            configuration: { [current] in current.withLock { $0.config.redacted } },
            lastReload: { [current] in current.withLock { ($0.reloadedAt, $0.reloadSucceeded) } },
            flags: { [options] in
                [
                    ("config", options.configPath ?? ""), ("data-dir", options.dataDirectory ?? ""),
                    ("listen", options.listen ?? ""),
                ]
            },
            retention: { [current] in
                current.withLock { formatDuration($0.config.storage.retentionTime) }
            },
            ready: { [current] in current.withLock { $0.isReady } },
            reload: { [weak self] in await self?.reload() ?? ["stopping"] }, metrics: metrics)
        return (remoteEngine.map { RemoteEngineRoutes($0).routes } ?? []) + QueryRoutes(backend).routes
            + SeriesRoutes(
                backend, externalLabels: { [current] in current.withLock { $0.config.global.externalLabels } }
            )
            .routes
            + RemoteReadRoutes(
                QueryBackend(
                    engine: engine, source: remoteEngine ?? store, clock: clock, metrics: metrics, pool: queries),
                externalLabels: { [current] in current.withLock { $0.config.global.externalLabels } }
            )
            .routes
            + TargetRoutes { [scraper] in scraper.targets() }.routes
            + RuleRoutes { [rules] in rules.status() }.routes
            + AlertmanagerRoutes(notifications, clock: clock).routes
            + AlertmanagersRoute { [outlets] in outlets.sender.snapshot }.routes
            + RemoteWriteRoutes(store, metrics: metrics, isEnabled: options.enableRemoteWriteReceiver).routes
            + StoreRoutes(store, pool: queries, isAdminEnabled: options.enableAdminAPI).routes
            + KopsRoutes(
                jobs: jobs, certificates: certificates.watch, backups: { [current] in current.withLock { $0.backup } }
            ).routes
            + UpgradeRoutes(upgrade, jobs: jobs).routes + doctorRoutes() + AuditRoutes(audit).routes
            + EventRoutes(events).routes + NodeRoutes { [collector] in collector.nodes() }.routes + status.routes
            + pageRoutes()
    }
}

/// A part of the service that runs until it is told to end.
private struct Part: Service {
    let name: String
    let body: @Sendable () async throws -> Void

    init(_ name: String, _ body: @escaping @Sendable () async throws -> Void) {
        self.name = name
        self.body = body
    }

    func run() async throws {
        // Cancelled, not awaited: a part ends its loops when its task is cancelled.
        try await cancelWhenGracefulShutdown { try await body() }
    }
}
