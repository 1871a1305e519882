package import Logging
package import MetricModel
package import Platform

/// What remote write needs of the outside.
package struct RemoteWriteEnvironment: Sendable {
    package var log: any SampleLog
    package var client: HTTPClient
    package var clock: WallClock
    package var metrics: MetricRegistry
    package var logger: Logger
    /// Where positions are kept.
    package var directory: String
    /// Type, help and unit of what is scraped.
    package var metadata: @Sendable () -> [String: MetricMetadata]
    package var userAgent: String

    package init(
        log: any SampleLog, client: HTTPClient, clock: WallClock, metrics: MetricRegistry, logger: Logger,
        directory: String, metadata: @escaping @Sendable () -> [String: MetricMetadata], userAgent: String
    ) {
        self.log = log
        self.client = client
        self.clock = clock
        self.metrics = metrics
        self.logger = logger
        self.directory = directory
        self.metadata = metadata
        self.userAgent = userAgent
    }
}

/// Sends one destination what the store commits, from its own position on, until its task is cancelled.
///
/// One task reads and sends round after round; within a round, requests go side by side.
final class RemoteWriteSender: Sendable {
    let config: RemoteWriteConfig
    private let external: Labels
    private let environment: RemoteWriteEnvironment
    private let metrics: RemoteWriteMetrics
    private let authorizer: HTTPAuthorizer
    private let place: Lock<LogPosition?>
    private let lastComplaint = Lock<Int64>(0)

    init(_ config: RemoteWriteConfig, external: Labels, _ environment: RemoteWriteEnvironment) {
        self.config = config
        self.external = external
        self.environment = environment
        metrics = RemoteWriteMetrics(environment.metrics, config)
        authorizer = HTTPAuthorizer(config.client, client: environment.client, clock: environment.clock)
        place = Lock(RemoteWritePositions.read(environment.directory, config.name))
    }

    /// The log that is needed first.
    var lowestLog: UInt64? { place.withLock { $0?.log } }

    func run() async {
        var metadataDue: Int64 = 0
        let resumed = place.withLock { $0 }
        let log = environment.log
        guard let reader = try? await WorkerPool.blocking.run({ log.follow(from: resumed) }) else { return }
        var table = RemoteSeriesTable(external: external, steps: config.relabel)
        var round = RemoteWriteRound()
        var position = reader.position
        await store(position)
        // What was sent last before the process ended may be sent again.
        var mayRepeat = resumed != nil
        var waitingSince: Int64?
        let capacity = config.queue.maxShards * config.queue.maxSamplesPerSend
        while !Task.isCancelled {
            if config.metadata.send, environment.clock.nowMilliseconds() >= metadataDue {
                metadataDue = environment.clock.nowMilliseconds() + config.metadata.interval
                await sendMetadata()
            }
            let room = capacity - round.count
            var exhausted = false
            if room > 0 {
                do {
                    if let found = try await WorkerPool.blocking.run({ try reader.next(maxSamples: room) }) {
                        take(found, &table, &round)
                        position = found.position
                        if waitingSince == nil { waitingSince = environment.clock.nowMilliseconds() }
                    } else {
                        exhausted = true
                    }
                } catch {
                    complain("the store's log cannot be read", "\(error)")
                    exhausted = true
                }
            }
            let now = environment.clock.nowMilliseconds()
            let isDue = waitingSince.map { now - $0 >= config.queue.batchSendDeadline || now < $0 } ?? false
            metrics.pending.set(Double(round.count))
            if round.count >= capacity || (exhausted && (isDue || round.count >= config.queue.maxSamplesPerSend)) {
                round.prefixes = table.prefixes
                guard await send(round, mayRepeat: mayRepeat) else { break }
                mayRepeat = false
                waitingSince = nil
                round = RemoteWriteRound()
                metrics.pending.set(0)
                await store(position)
            } else if exhausted {
                try? await Task.sleep(for: .milliseconds(min(1000, max(50, config.queue.batchSendDeadline / 4))))
            }
        }
    }

    /// Adds what was read to the round, under the names it is sent by.
    private func take(_ found: LoggedSamples, _ table: inout RemoteSeriesTable, _ round: inout RemoteWriteRound) {
        if found.lostLogs > 0 { metrics.lostLogs.add(Double(found.lostLogs)) }
        if found.isNewLog, round.count == 0 { table.removeAll() }
        for (id, labels) in found.definitions { table.define(id, labels) }
        let oldest =
            config.queue.sampleAgeLimit > 0
            ? environment.clock.nowMilliseconds() - config.queue.sampleAgeLimit : Int64.min
        var dropped = 0
        var tooOld = 0
        for i in found.ids.indices {
            guard let series = table.place(found.ids[i]) else {
                dropped += 1
                continue
            }
            if found.timestamps[i] < oldest {
                tooOld += 1
                continue
            }
            round.series.append(series)
            round.timestamps.append(found.timestamps[i])
            round.values.append(found.values[i])
        }
        if dropped > 0 { metrics.relabelled.add(Double(dropped)) }
        if tooOld > 0 { metrics.tooOld.add(Double(tooOld)) }
    }

    /// False where the task was cancelled before all were taken or given up.
    private func send(_ round: RemoteWriteRound, mayRepeat: Bool) async -> Bool {
        let limit = config.queue.maxSamplesPerSend
        let wanted = (round.count + limit - 1) / limit
        let shards = max(1, min(max(wanted, config.queue.minShards), config.queue.maxShards, max(1, round.count)))
        metrics.desired.set(Double(wanted))
        metrics.shards.set(Double(shards))
        let work = round.shards(shards, limit: limit)
        let complete = await withTaskGroup(of: Bool.self) { group in
            for requests in work where !requests.isEmpty {
                group.addTask {
                    for request in requests {
                        guard await self.send(request, of: round, mayRepeat: mayRepeat) else { return false }
                    }
                    return true
                }
            }
            return await group.reduce(true) { $0 && $1 }
        }
        if complete, round.count > 0 { metrics.highestSent.set(Double(round.newest) / 1000) }
        return complete
    }

    private func send(_ batch: WriteBatch, of round: RemoteWriteRound, mayRepeat: Bool) async -> Bool {
        let count = Double(batch.samples.count)
        guard let body = try? await WorkerPool.shared.run({ Snappy.packed(round.message(batch)) }) else { return false }
        switch await deliver(
            body, retry: { self.metrics.retried.add(count) }, attempt: { self.metrics.samples.add(count) })
        {
        case .taken:
            metrics.bytes.add(Double(body.count))
            return true
        case .cancelled: return false
        case .refused(let why):
            if mayRepeat, batch.samples.count > 1 {
                let (first, second) = batch.halves
                guard await send(first, of: round, mayRepeat: true) else { return false }
                return await send(second, of: round, mayRepeat: true)
            }
            metrics.failed.add(count)
            if !mayRepeat { complain("remote storage refuses samples; they are given up", why) }
            return true
        }
    }

    private enum Outcome {
        case taken, cancelled
        case refused(String)
    }

    /// Sends a body until it is taken or refused for good.
    private func deliver(_ body: [UInt8], retry: () -> Void, attempt: () -> Void) async -> Outcome {
        var backoff = config.queue.minBackoff
        while !Task.isCancelled {
            attempt()
            let start = monotonicNanoseconds()
            var wait = backoff
            do {
                let response = try await environment.client.send(try await request(body))
                metrics.duration.observe(Double(monotonicNanoseconds() - start) / 1e9)
                let text = String(response.bodyText.prefix(300).prefix { !$0.isNewline })
                switch response.status {
                case 200..<300: return .taken
                case 429 where config.queue.retryOn429, 500...:
                    if let seconds = response.header("retry-after").flatMap({ Int64($0) }), seconds > 0 {
                        wait = max(wait, min(seconds, 300) * 1000)
                    }
                    complain("remote storage does not take samples now", "status \(response.status): \(text)")
                default: return .refused("status \(response.status): \(text)")
                }
            } catch {
                if Task.isCancelled { break }
                complain("remote storage cannot be reached", "\(error)")
            }
            retry()
            try? await Task.sleep(for: .milliseconds(wait))
            backoff = min(max(1, backoff) * 2, config.queue.maxBackoff)
        }
        return .cancelled
    }

    private func request(_ body: [UInt8]) async throws -> HTTPRequest {
        var request = HTTPRequest("POST", config.url)
        request.headers = [
            ("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"), ("User-Agent", environment.userAgent),
        ]
        for header in config.headers { for value in header.values { request.headers.append((header.name, value)) } }
        request.body = body
        request.timeout = .milliseconds(config.timeout)
        request.maxBodyBytes = 1 << 20
        return try await authorizer.prepare(request)
    }

    // MARK: Metadata

    private func sendMetadata() async {
        let all = environment.metadata().sorted { $0.key < $1.key }
        var start = 0
        while start < all.count, !Task.isCancelled {
            let part = all[start..<min(start + config.metadata.maxPerSend, all.count)]
            start += part.count
            var message = MessageWriter()
            for (name, metadata) in part { message.field(3, metadataMessage(name, metadata)) }
            // It comes again with the next interval: one try is enough.
            guard let request = try? await request(Snappy.packed(message.bytes)),
                let response = try? await environment.client.send(request), (200..<300).contains(response.status)
            else { return }
            metrics.metadata.add(Double(part.count))
        }
    }

    private func metadataMessage(_ name: String, _ metadata: MetricMetadata) -> [UInt8] {
        let types = ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"]
        var message = MessageWriter()
        if let type = types.firstIndex(of: metadata.type), type > 0 { message.varint(1, UInt64(type)) }
        message.field(2, Array(name.utf8))
        if !metadata.help.isEmpty { message.field(4, Array(metadata.help.utf8)) }
        if !metadata.unit.isEmpty { message.field(5, Array(metadata.unit.utf8)) }
        return message.bytes
    }

    // MARK: Position and words

    private func store(_ position: LogPosition) async {
        place.withLock { $0 = position }
        let (directory, name) = (environment.directory, config.name)
        do {
            try await WorkerPool.blocking.run { try RemoteWritePositions.write(directory, name, position) }
        } catch {
            complain("the position in the log cannot be written; after a restart samples are sent again", "\(error)")
        }
    }

    /// At most one line a minute: trouble with a receiver lasts.
    private func complain(_ what: Logger.Message, _ why: String) {
        let now = environment.clock.nowMilliseconds()
        let isNew = lastComplaint.withLock { last in
            defer { if now - last >= 60_000 || now < last { last = now } }
            return now - last >= 60_000 || now < last
        }
        guard isNew else { return }
        environment.logger.warning(
            what, metadata: ["remote": "\(config.name)", "url": "\(redactURL(config.url))", "reason": "\(why)"])
    }
}
