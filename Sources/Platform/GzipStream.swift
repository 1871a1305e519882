import CZlib
import Glibc

/// Compresses a stream with several threads into one gzip file: the stream is cut into blocks, each block becomes one gzip
/// member, and the members follow each other in order. RFC 1952 defines a gzip file as such a series, and `gunzip` gives
/// the stream back as it was. Each member's header carries both its lengths (`GzipMember`), so that a reader can find
/// the members without inflating them and inflate them side by side.
///
/// One thread calls `write` and then `finish`; `abort` may come from any. Memory is bounded by
/// `(threads + 2) × blockBytes × 2`. `sink` gets the members in order, one at a time, on one of the worker threads.
package final class ParallelGzipWriter: @unchecked Sendable {
    /// What `finish` tells.
    package struct Summary: Sendable {
        package var bytesIn: Int64 = 0
        package var bytesOut: Int64 = 0
        package var members = 0
    }

    private struct Job {
        var number: Int
        var input: UnsafeMutableRawBufferPointer
        var count: Int
    }

    // Unchecked: all below is touched only while `mutex` is held, but for `current`/`filled`, which are the producer's,
    // and the buffers inside a job, which are whose the job is.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var free: [UnsafeMutableRawBufferPointer] = []
    private var jobs: [Job] = []
    private var nextToWrite = 0
    private var closed = false
    private var running = 0
    private var failure: (any Error)?
    private var summary = Summary()

    private var current: UnsafeMutableRawBufferPointer?
    private var filled = 0
    private var submitted = 0
    private let blockBytes: Int
    private let level: Int32
    private let sink: @Sendable (UnsafeRawBufferPointer) throws -> Void

    package init(
        level: Int32 = 6, threads: Int = min(8, processorCount()), blockBytes: Int = 1 << 20,
        sink: @escaping @Sendable (UnsafeRawBufferPointer) throws -> Void
    ) {
        self.level = max(1, min(9, level))
        self.blockBytes = max(4096, blockBytes)
        self.sink = sink
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(changed, nil)
        let threads = max(1, threads)
        for _ in 0..<(threads + 2) { free.append(.allocate(byteCount: self.blockBytes, alignment: 64)) }
        running = threads
        for i in 0..<threads { startThread(name: "kops-gzip-\(i)") { self.work() } }
    }

    deinit {
        for buffer in free { buffer.deallocate() }
        for job in jobs { job.input.deallocate() }
        current?.deallocate()
        pthread_mutex_destroy(mutex)
        pthread_cond_destroy(changed)
        mutex.deallocate()
        changed.deallocate()
    }

    /// Takes the next bytes of the stream; waits while all buffers are in use. Throws what the sink threw.
    package func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            let buffer = try block()
            let n = min(rest.count, blockBytes - filled)
            UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<filled + n]).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: rest[..<n]))
            filled += n
            rest = UnsafeRawBufferPointer(rebasing: rest[n...])
            if filled == blockBytes { submit() }
        }
    }

    package func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }

    /// Waits until the sink has all members. An empty stream becomes one empty member.
    package func finish() throws -> Summary {
        if filled > 0 || submitted == 0 {
            _ = try block()
            submit()
        }
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        closed = true
        pthread_cond_broadcast(changed)
        while running > 0 { pthread_cond_wait(changed, mutex) }
        if let failure { throw failure }
        return summary
    }

    /// Ends the threads; whoever waits in `write` or `finish` gets the error. No member is handed to the sink afterwards,
    /// but for one that is being handed over.
    package func abort(_ error: any Error) {
        pthread_mutex_lock(mutex)
        if failure == nil { failure = error }
        closed = true
        pthread_cond_broadcast(changed)
        pthread_mutex_unlock(mutex)
    }

    private func block() throws -> UnsafeMutableRawBufferPointer {
        if let current { return current }
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while free.isEmpty && failure == nil { pthread_cond_wait(changed, mutex) }
        if let failure { throw failure }
        let buffer = free.removeLast()
        current = buffer
        filled = 0
        return buffer
    }

    private func submit() {
        guard let buffer = current else { return }
        current = nil
        pthread_mutex_lock(mutex)
        jobs.append(Job(number: submitted, input: buffer, count: filled))
        pthread_cond_broadcast(changed)
        pthread_mutex_unlock(mutex)
        submitted += 1
        filled = 0
    }

    private func work() {
        let compressor = GzipMember.Compressor(level: level, blockBytes: blockBytes)
        while let job = take() {
            let member = compressor?.compress(UnsafeRawBufferPointer(rebasing: job.input[..<job.count]))
            deliver(job, member)
        }
        pthread_mutex_lock(mutex)
        running -= 1
        pthread_cond_broadcast(changed)
        pthread_mutex_unlock(mutex)
    }

    private func take() -> Job? {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while jobs.isEmpty && !closed { pthread_cond_wait(changed, mutex) }
        return jobs.isEmpty || failure != nil ? nil : jobs.removeFirst()
    }

    private func deliver(_ job: Job, _ member: UnsafeRawBufferPointer?) {
        pthread_mutex_lock(mutex)
        while nextToWrite != job.number && failure == nil { pthread_cond_wait(changed, mutex) }
        let go = failure == nil
        pthread_mutex_unlock(mutex)
        // Only the worker whose turn it is comes here: the sink is never called by two at once.
        var problem: (any Error)?
        if go {
            do {
                guard let member else { throw CompressionError("zlib has no memory") }
                try sink(member)
            } catch {
                problem = error
            }
        }
        pthread_mutex_lock(mutex)
        if failure == nil { failure = problem }
        if go, problem == nil {
            summary.bytesIn += Int64(job.count)
            summary.bytesOut += Int64(member?.count ?? 0)
            summary.members += 1
            nextToWrite += 1
        }
        free.append(job.input)
        pthread_cond_broadcast(changed)
        pthread_mutex_unlock(mutex)
    }
}
