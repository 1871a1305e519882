import Glibc

/// Inflates what `ParallelGzipWriter` made with several threads: members are found by the lengths in their headers, inflated
/// side by side and handed out in order. For one thread at a time; memory is bounded by `(threads + 2)` members.
package final class ParallelGzipReader {
    private final class Job: @unchecked Sendable {
        // Unchecked: whose turn it is with these is settled under the shared lock.
        var member: [UInt8] = []
        var block: UnsafeMutableRawBufferPointer = .init(start: nil, count: 0)
        var inflated = 0
        var isDone = false
        var isFine = false

        deinit { block.deallocate() }
    }

    private final class Shared: @unchecked Sendable {
        // Unchecked: all below is touched only while `mutex` is held.
        let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
        let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
        var waiting: [Job] = []
        var closed = false

        init() {
            pthread_mutex_init(mutex, nil)
            pthread_cond_init(changed, nil)
        }

        deinit {
            pthread_mutex_destroy(mutex)
            pthread_cond_destroy(changed)
            mutex.deallocate()
            changed.deallocate()
        }

        func work() {
            let decompressor = GzipMember.Decompressor()
            while true {
                pthread_mutex_lock(mutex)
                while waiting.isEmpty && !closed { pthread_cond_wait(changed, mutex) }
                if closed {
                    pthread_mutex_unlock(mutex)
                    return
                }
                let job = waiting.removeFirst()
                pthread_mutex_unlock(mutex)
                let fine = job.member.withUnsafeBytes { member in
                    decompressor?.decompress(
                        member, into: UnsafeMutableRawBufferPointer(rebasing: job.block[..<job.inflated])) ?? false
                }
                pthread_mutex_lock(mutex)
                job.isFine = fine
                job.isDone = true
                pthread_cond_broadcast(changed)
                pthread_mutex_unlock(mutex)
            }
        }
    }

    private let shared = Shared()
    private let source: (UnsafeMutableRawBufferPointer) throws -> Int
    private let depth: Int
    private var running: [Job] = []
    private var spare: [Job] = []
    private var current: Job?
    private var sourceEnded = false

    /// `source` fills the buffer and returns how many bytes, 0 at the end.
    package init(
        threads: Int = min(8, processorCount()), source: @escaping (UnsafeMutableRawBufferPointer) throws -> Int
    ) {
        self.source = source
        let threads = max(1, threads)
        depth = threads + 2
        for i in 0..<threads { startThread(name: "kops-gunzip-\(i)") { [shared] in shared.work() } }
    }

    deinit {
        pthread_mutex_lock(shared.mutex)
        shared.closed = true
        pthread_cond_broadcast(shared.changed)
        pthread_mutex_unlock(shared.mutex)
    }

    /// The next block, valid until the next call; empty at the end. Throws where the file is damaged, cut off, or has
    /// something else behind it.
    package func next() throws -> UnsafeRawBufferPointer {
        if let current { spare.append(current) }
        current = nil
        while true {
            while running.count < depth, !sourceEnded { try submit() }
            guard !running.isEmpty else { return UnsafeRawBufferPointer(start: nil, count: 0) }
            let job = running.removeFirst()
            pthread_mutex_lock(shared.mutex)
            while !job.isDone { pthread_cond_wait(shared.changed, shared.mutex) }
            pthread_mutex_unlock(shared.mutex)
            guard job.isFine else { throw CompressionError("the compressed data is damaged") }
            current = job
            if job.inflated > 0 { return UnsafeRawBufferPointer(rebasing: job.block[..<job.inflated]) }
            spare.append(job)
            current = nil
        }
    }

    /// Reads one member and hands it to the threads.
    private func submit() throws {
        var header = [UInt8](repeating: 0, count: GzipMember.headerBytes)
        let n = try header.withUnsafeMutableBytes { try readFully(source, $0) }
        if n == 0 {
            sourceEnded = true
            return
        }
        guard n == header.count else { throw CompressionError("the compressed data is cut off") }
        guard let (length, inflated) = header.withUnsafeBytes({ GzipMember.lengths($0) }),
            length <= GzipMember.maxMemberBytes, inflated <= GzipMember.maxMemberBytes
        else { throw CompressionError("the compressed data is damaged") }
        let job = spare.popLast() ?? Job()
        job.isDone = false
        job.inflated = inflated
        if job.member.count != length {
            job.member.removeAll(keepingCapacity: true)
            job.member.append(contentsOf: repeatElement(0, count: length))
        }
        if job.block.count < inflated {
            job.block.deallocate()
            job.block = .allocate(byteCount: max(inflated, 1 << 20), alignment: 64)
        }
        let read = try job.member.withUnsafeMutableBytes { bytes in
            bytes.copyBytes(from: header)
            return try readFully(source, UnsafeMutableRawBufferPointer(rebasing: bytes[header.count...]))
        }
        guard read == length - header.count else { throw CompressionError("the compressed data is cut off") }
        running.append(job)
        pthread_mutex_lock(shared.mutex)
        shared.waiting.append(job)
        pthread_cond_broadcast(shared.changed)
        pthread_mutex_unlock(shared.mutex)
    }
}
