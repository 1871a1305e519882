import Glibc
import Logging
import MetricModel
import Platform

extension Store {
    /// Commits about once a second, flushes, and keeps retention, until the task is cancelled; then flushes once more.
    package func run() async throws {
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(options.commitInterval))
            if Task.isCancelled { break }
            try await WorkerPool.blocking.run { self.tick() }
        }
        try await WorkerPool.blocking.run { self.close() }
    }

    /// What is due now: a commit always, at times a flush, retention, compaction.
    func tick() {
        commit()
        let now = clock.nowMilliseconds()
        let (due, retry) = back.withLock { back in
            // Aligned to the clock, so that chunks of all series cover the same hours.
            (now / options.flushInterval != back.lastFlush / options.flushInterval, back.sealedLog != nil)
        }
        let tooMuch = front.withLock { $0.head.chunkBytes } > options.maxChunkMemory
        if due || tooMuch || (retry && now / 30_000 != (now - options.commitInterval) / 30_000) { flush() }
        if tooMuch, front.withLock({ $0.head.chunkBytes }) > options.maxChunkMemory { shed() }
        if now / 10_000 != (now - options.commitInterval) / 10_000 { ProcessMemory.settle() }
        if now / 60_000 != (now - options.commitInterval) / 60_000 {
            applyRetention()
            compactOldest()
        }
    }

    /// Makes everything appended so far durable. A disk that refuses costs nothing but a later try.
    package func commit() {
        if options.readOnly { return }
        back.withLock { commit(&$0) }
    }

    func commit(_ back: inout Back) {
        let batches = front.withLock { front -> [LogBuffer] in
            var batches = front.waiting
            if !front.log.isEmpty { batches.append(front.log) }
            (front.waiting, front.waitingBytes, front.log) = ([], 0, LogBuffer())
            return batches
        }
        if !batches.isEmpty { write(batches, &back) }
    }

    private func write(_ batches: [LogBuffer], _ back: inout Back) {
        let start = monotonicNanoseconds()
        do {
            guard let log = back.log else { throw StoreError(.closed, "the store is closed") }
            try log.append(batches)
            metrics.commits.observe(Double(monotonicNanoseconds() - start) / 1e9)
            if back.diskTrouble {
                back.diskTrouble = false
                logger.notice("commits work again")
            }
        } catch {
            metrics.commitFailures.add()
            if !back.diskTrouble {
                back.diskTrouble = true
                logger.error(
                    "samples cannot be committed; they stay in memory until it works again",
                    metadata: ["error": "\(error)"])
            }
            front.withLock { front in
                front.waiting = batches + front.waiting
                front.waitingBytes = front.waiting.reduce(0) { $0 + $1.bytes }
                if front.waitingBytes > options.maxPendingBytes {
                    // What follows in the log must not lean on what never got there.
                    metrics.lostSamples.add(Double(front.waiting.count))
                    (front.waiting, front.waitingBytes, front.log) = ([], 0, LogBuffer())
                    front.head.logEpoch += 1
                }
            }
        }
    }

    /// Where the disk has taken nothing for so long that the head is too large: the older half of it goes, so that scraping and
    /// alerting go on from memory. Its samples are lost unless the log has them.
    private func shed() {
        let lost = front.withLock { front -> Int in
            let before = front.head.samples
            _ = front.head.dropSealed()
            _ = front.head.seal()
            front.head.logEpoch += 1
            return before - front.head.samples
        }
        back.withLock { if $0.sealedLog == nil { $0.sealedLog = $0.logNumber } }
        metrics.shedSamples.add(Double(max(0, lost)))
        logger.error(
            "the disk takes nothing and memory is full: old samples are dropped", metadata: ["samples": "\(lost)"])
    }

    /// Writes the head to its days' partitions and starts a new log. What cannot be written stays readable and is tried again.
    package func flush() {
        if options.readOnly { return }
        back.withLock { flush(&$0) }
    }

    func flush(_ back: inout Back) {
        let start = monotonicNanoseconds()
        back.lastFlush = clock.nowMilliseconds()
        do {
            if back.sealedLog == nil { try seal(&back) }
            guard let sealedLog = back.sealedLog, let sealed = front.withLock({ $0.head.sealed }) else { return }
            try write(sealed, &back, log: sealedLog)
            for log in back.oldLogs { retire(log) }
            back.oldLogs = []
            back.sealedLog = nil
            // The chunks are freed outside the lock, where `dropped` goes.
            let dropped = front.withLock { $0.head.dropSealed() }
            let removed = dropped.idle
            defer { ProcessMemory.trim() }
            metrics.flushes.observe(Double(monotonicNanoseconds() - start) / 1e9)
            logger.debug(
                "flushed",
                metadata: ["seconds": "\(Double(monotonicNanoseconds() - start) / 1e9)", "idle": "\(removed)"])
        } catch {
            metrics.commitFailures.add()
            logger.error("the head cannot be flushed; it is tried again", metadata: ["error": "\(error)"])
        }
    }

    /// Closes the head's chunks and switches to a new log.
    private func seal(_ back: inout Back) throws {
        commit(&back)
        if back.diskTrouble { throw StoreError(.disk, "the disk takes no commits") }
        let next = try LogFile(options.path, number: back.logNumber + 1)
        let rest = front.withLock { front -> LogBuffer in
            let rest = front.log
            front.log = LogBuffer()
            _ = front.head.seal()
            front.head.logEpoch += 1
            return rest
        }
        if !rest.isEmpty { write([rest], &back) }
        back.sealedLog = back.logNumber
        if let log = back.log { back.oldLogs.append(log) }
        back.log = next
        back.logNumber += 1
    }

    /// One transaction for each day that there are samples of.
    private func write(_ sealed: SealedHead, _ back: inout Back, log: UInt64) throws {
        let days = sealed.days()
        for day in days.keys.sorted() {
            guard let slots = days[day] else { continue }
            let writer = try writer(for: day, &back)
            let order = try writer.order(slots, sealed.labels)
            var position = 0
            var lastCommit = monotonicNanoseconds()
            do {
                try writer.write(log: log) {
                    // A long flush must not keep new samples from becoming durable.
                    if position & 255 == 0, monotonicNanoseconds() - lastCommit > 700_000_000 {
                        commit(&back)
                        lastCommit = monotonicNanoseconds()
                    }
                    while position < order.count {
                        let samples = sealed.samples(order[position], day: day)
                        position += 1
                        if !samples.timestamps.isEmpty || !samples.histograms.isEmpty { return samples }
                    }
                    return nil
                }
            } catch let error as SQLiteError where error.isDamage {
                // The day's file is lost, its newest samples are not: they go into a new one.
                back.writers[day] = nil
                if let partition = partitions.first(where: { $0.start == day }) {
                    setAside(partition, error.description)
                }
                throw error
            }
        }
        // Days gone by are not written again soon.
        let keep = dayStart(clock.nowMilliseconds())
        for (day, writer) in back.writers where day != keep {
            writer.close()
            back.writers[day] = nil
        }
    }

    func writer(for day: Int64, _ back: inout Back, durable: Bool = true) throws -> PartitionWriter {
        if let writer = back.writers[day] { return writer }
        let partition = partitions.first { $0.start == day } ?? Partition(options.path, start: day, readOnly: false)
        let writer = try PartitionWriter(partition, durable: durable)
        back.writers[day] = writer
        partitionList.withLock { list in
            if !list.contains(where: { $0 === partition }) {
                list.append(partition)
                list.sort { $0.start < $1.start }
            }
        }
        return writer
    }

    /// Flushes and closes. Appending fails from now on; queries go on.
    package func close() {
        if options.readOnly { return }
        let already = front.withLock { front in
            defer { front.closed = true }
            return front.closed
        }
        if already { return }
        back.withLock { back in
            flush(&back)
            for writer in back.writers.values { writer.close() }
            back.writers = [:]
            for partition in partitions { partition.tidy() }
            let empty = front.withLock { $0.log.isEmpty && $0.waiting.isEmpty }
            // A log with nothing in it is not worth keeping.
            if back.oldLogs.isEmpty, back.sealedLog == nil, empty, !back.diskTrouble { back.log?.delete() }
            back.log?.close()
            back.log = nil
            for log in back.oldLogs { log.close() }
        }
        // The last of all: whoever opens the store next finds it closed.
        back.withLock { $0.lock = nil }
    }

    /// Lets go of everything without writing, as a kill would. For tests.
    package func abandon() {
        front.withLock { $0.closed = true }
        back.withLock { back in
            back.log?.close()
            for log in back.oldLogs { log.close() }
            for writer in back.writers.values { writer.close() }
            (back.log, back.oldLogs, back.writers) = (nil, [], [:])
        }
        back.withLock { $0.lock = nil }
    }

    // MARK: retention

    /// Deletes days that are older than the retention, then the oldest while the store is too large or the disk too full.
    package func applyRetention() {
        if options.readOnly { return }
        let now = clock.nowMilliseconds()
        if options.retentionTime > 0 {
            for partition in partitions where partition.end <= now - options.retentionTime {
                drop(partition, "older than the retention")
            }
        }
        if options.retentionSize > 0 {
            var total = partitions.reduce(0) { $0 + $1.bytes }
            while total > options.retentionSize, partitions.count > 1, let oldest = partitions.first {
                total -= oldest.bytes
                drop(oldest, "the store is larger than its size limit")
            }
        }
        while options.minimumFree > 0, partitions.count > 1, let oldest = partitions.first,
            let free = try? FileSystem.freeBytes(options.path), free < options.minimumFree
        {
            drop(oldest, "the disk is nearly full")
        }
    }

    private func drop(_ partition: Partition, _ reason: String) {
        back.withLock { back in
            back.writers[partition.start]?.close()
            back.writers[partition.start] = nil
        }
        partitionList.withLock { $0.removeAll { $0 === partition } }
        partition.delete()
        logger.info("deleted a day", metadata: ["file": "\(partition.path)", "reason": "\(reason)"])
    }
}
