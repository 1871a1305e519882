import Glibc
package import Logging
package import MetricModel
package import Platform

/// The time-series store: a head in memory, a log of what is not yet flushed, and a partition for each UTC day.
///
/// Thread-safe. Appending and the newest samples meet under one short lock; partitions are read on the caller's thread
/// through connections of their own; commits, flushes, retention and repairs happen one at a time (`maintenance`).
/// `run()` drives it; without it nothing becomes durable until `commit()` is called.
package final class Store: SampleAppender, Sendable {
    struct Front {
        var head = Head()
        var log = LogBuffer()
        /// Batches that could not be written yet.
        var waiting: [LogBuffer] = []
        var waitingBytes = 0
        var closed = false
    }

    /// What only maintenance touches.
    struct Back {
        var log: LogFile?
        var logNumber: UInt64 = 0
        /// Logs whose samples are sealed or still in the head.
        var oldLogs: [LogFile] = []
        var writers: [Int64: PartitionWriter] = [:]
        var sealedLog: UInt64?
        var lastFlush: Int64 = 0
        var diskTrouble = false
        var lock: FileLock?
    }

    package let options: StoreOptions
    let clock: WallClock
    let logger: Logger
    let metrics: StoreMetrics
    let front = Lock(Front())
    let back = Lock(Back())
    let partitionList = Lock<[Partition]>([])
    let keeping = LogKeeping()
    let marks = HeadMarks()
    let partitionSelections = PartitionSelections()

    /// Opens the directory, makes it where it is missing, sets damaged files aside, and replays the logs.
    package init(
        options: StoreOptions, clock: WallClock = .system, metrics registry: MetricRegistry, log: Logger
    ) throws(StoreError) {
        self.options = options
        self.clock = clock
        logger = log
        metrics = StoreMetrics(registry)
        do {
            try open()
        } catch let error as StoreError {
            throw error
        } catch {
            throw StoreError(.disk, "cannot open the store in \(options.path): \(error)")
        }
        metrics.observe(self, registry)
    }

    private func open() throws {
        if !options.readOnly {
            try FileSystem.makeDirectories(options.path)
            guard let lock = try FileLock(options.path + "/lock", mode: 0o644, patience: 200) else {
                throw StoreError(
                    .locked, "\(options.path) is in use by another process; stop it, or ask it with --url")
            }
            back.withLock { $0.lock = lock }
        }
        let names = try FileSystem.list(options.path).sorted()
        var logs: [UInt64] = []
        for name in names {
            if let start = Partition.start(name) {
                openPartition(Partition(options.path, start: start, readOnly: options.readOnly))
            } else if let number = LogFile.number(name) {
                logs.append(number)
            } else if name.contains(".rewrite"), !options.readOnly {
                unlink(options.path + "/" + name)
            }
        }
        try replay(logs)
        // As if it had never been stopped: samples much older than the newest stay refused.
        if let last = partitions.last, let end = try? last.newestTime() {
            front.withLock { $0.head.startFrom(newest: end) }
        }
        let now = clock.nowMilliseconds()
        if options.readOnly { return }
        try back.withLock { back in
            // Above every number that a partition remembers, or the samples of a new log would pass for flushed.
            let flushed = partitions.compactMap { try? $0.flushedLog() }.max() ?? 0
            back.logNumber = max(logs.last ?? 0, flushed) + 1
            back.log = try LogFile(options.path, number: back.logNumber)
            back.lastFlush = now
        }
        front.withLock { front in
            // The new log knows none of the series yet.
            front.head.logEpoch += 1
            front.log = LogBuffer()
        }
    }

    private func openPartition(_ partition: Partition) {
        do {
            if SQLiteFileSet.isCutOff(partition.path) { return setAside(partition, "is cut off") }
            try partition.prepare()
            partitionList.withLock { list in
                list.append(partition)
                list.sort { $0.start < $1.start }
            }
        } catch let error as SQLiteError where error.isForeign || isDirectory(Partition.name(partition.start)) {
            setAside(partition, error.description)
        } catch {
            logger.error("a partition cannot be opened", metadata: ["file": "\(partition.path)", "error": "\(error)"])
        }
    }

    /// Renames a damaged partition out of the way; costs its day and nothing else.
    func setAside(_ partition: Partition, _ reason: String) {
        metrics.damagedFiles.add()
        logger.error(
            "a damaged file is set aside", metadata: ["file": "\(partition.path)", "reason": "\(reason)"])
        partitionList.withLock { $0.removeAll { $0 === partition } }
        if options.readOnly { return }
        partition.closeReaders()
        _ = try? SQLiteFileSet.setAside(partition.path, now: clock.nowMilliseconds())
    }

    private func isDirectory(_ name: String) -> Bool {
        var status = stat()
        return stat(options.path + "/" + name, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    private func replay(_ numbers: [UInt64]) throws {
        for number in numbers {
            do {
                let path = options.path + "/" + LogFile.name(number)
                if SQLiteFileSet.isCutOff(path) { throw SQLiteError(code: 26, message: "is cut off", path: path) }
                let file = try LogFile(options.path, number: number, readOnly: options.readOnly)
                let damaged = try replay(file, number: number)
                if damaged > 0 {
                    metrics.damagedFiles.add()
                    logger.error(
                        "a log is damaged: samples after the damage are lost", metadata: ["file": "\(file.path)"])
                }
                if options.readOnly { file.close() } else { back.withLock { $0.oldLogs.append(file) } }
            } catch let error as SQLiteError where error.isForeign || isDirectory(LogFile.name(number)) {
                metrics.damagedFiles.add()
                logger.error("a damaged log is set aside", metadata: ["reason": "\(error)"])
                if !options.readOnly {
                    _ = try? SQLiteFileSet.setAside(
                        options.path + "/" + LogFile.name(number), now: clock.nowMilliseconds())
                }
            }
        }
    }

    private func replay(_ file: LogFile, number: UInt64) throws -> Int {
        // Days that have this log's samples already, because a flush was cut off before it could delete the log.
        var flushed: [Int64: Bool] = [:]
        for partition in partitionList.withLock({ $0 }) {
            flushed[partition.start] = (try? partition.flushedLog()).map { $0 >= number } ?? false
        }
        let anyFlushed = flushed.values.contains(true)
        var decoder = LogDecoder()
        // By id: ids are slots of the head that wrote the log, so they are dense.
        var refs: [Int32] = []
        return try front.withLock { front in
            let head = front.head
            var nowhere = LogBuffer()
            return try file.replay { definitions, data in
                let known = LogDecoder.definitions(definitions) { id, labels in
                    guard id < 1 << 28, let slot = head.slot(head.resolve(labels)) else { return }
                    while refs.count <= Int(id) { refs.append(-1) }
                    if refs[Int(id)] < 0 { refs[Int(id)] = Int32(truncatingIfNeeded: slot) }
                }
                guard known else { return false }
                let whole = decoder.samples(data) { record in
                    switch record {
                    case .sample(let id, let time, let bits):
                        if anyFlushed, flushed[dayStart(time)] == true { return }
                        guard id < UInt64(refs.count), refs[Int(id)] >= 0 else { return }
                        head.replay(Int(refs[Int(id)]), time, bits)
                    case .histogram(let id, let time, let histogram):
                        if anyFlushed, flushed[dayStart(time)] == true { return }
                        guard id < UInt64(refs.count), refs[Int(id)] >= 0 else { return }
                        _ = head.append(Int(refs[Int(id)]), time, histogram, log: &nowhere)
                    }
                }
                nowhere = LogBuffer()
                return whole
            }
        }
    }

    // MARK: SampleAppender

    package func resolve(_ series: [Labels]) throws -> [SeriesRef] {
        try front.withLock { front in
            if front.closed { throw StoreError(.closed, "the store is closed") }
            if options.readOnly { throw StoreError(.readOnly, "the store is open for reading only") }
            let limit = options.maxSeries
            return try series.map { labels in
                let isFull = (limit > 0 && front.head.seriesCount >= limit) || front.head.labels.isFull
                if isFull, front.head.slot(of: labels) == nil {
                    throw StoreError(
                        .tooManySeries,
                        "the store holds \(front.head.seriesCount) active series and takes no more")
                }
                return front.head.resolve(labels)
            }
        }
    }

    package func append(_ batch: SampleBatch) throws -> AppendOutcome {
        let now = clock.nowMilliseconds()
        let bounds = Head.Bounds(
            oldest: options.retentionTime > 0 ? now &- options.retentionTime : .min,
            latest: now &+ options.maxFuture, window: options.outOfOrderWindow)
        let outcome = try front.withLock { front in
            if front.closed { throw StoreError(.closed, "the store is closed") }
            return front.head.append(batch, bounds, log: &front.log)
        }
        metrics.appended.add(Double(outcome.appended))
        if outcome.outOfOrder > 0 { metrics.outOfOrder.add(Double(outcome.outOfOrder)) }
        if outcome.duplicate > 0 { metrics.duplicates.add(Double(outcome.duplicate)) }
        return outcome
    }

    var partitions: [Partition] { partitionList.withLock { $0 } }
}

/// The first millisecond of a time's UTC day.
func dayStart(_ time: Int64) -> Int64 {
    let remainder = time % Partition.day
    return time - (remainder < 0 ? remainder + Partition.day : remainder)
}
