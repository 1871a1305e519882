import Platform

/// Reads a bbolt database front to back, once, and then knows what a walk through its tree would: that every page of the
/// tree is there, whole and in order, how many keys there are, the newest revision, and the hash that `etcdutl snapshot
/// status` prints. So a compressed snapshot is checked while it streams by.
///
/// For this a summary of each page is kept (32 bytes, 8 MiB for a database of 1 GiB), and hashes of pages are put
/// together in the tree's order at the end, which CRC-32C allows. For one thread at a time.
package struct SnapshotScanner {
    private struct Page {
        var sum: UInt32 = 0
        /// Bytes of keys and values; of a branch: where its children begin.
        var length: UInt32 = 0
        var overflow: UInt32 = 0
        var count: UInt16 = 0
        var kind = Kind.other
        var first: UInt64 = 0
        var last: UInt64 = 0
    }

    private enum Kind: UInt8 {
        /// Free, or the continuation of another page.
        case other
        case branch
        case leaf
        case freelist
        case broken
        /// Too large to be held; only its place is checked.
        case unread
    }

    /// Pages being put together because they have overflow pages.
    private struct Run {
        var id: Int
        var bytes: [UInt8]
        var wanted: Int
    }

    private struct Bucket {
        var name: [UInt8]
        var value: [UInt8]
    }

    private var pageSize = 0
    private var pending: [UInt8] = []
    private var pages: [Page] = []
    private var children: [UInt32] = []
    private var childKeys: [UInt64] = []
    private var runs: [Run] = []
    private var runBytes = 0
    private var bucketPages: [Int: [Bucket]] = [:]
    private var bucketBytes = 0
    private var metas: [BoltMeta?] = []
    private var totalBytes: Int64 = 0
    private static let maxRunBytes = 16 << 20
    private static let maxBucketBytes = 8 << 20

    package init() {}

    /// Takes the next bytes of the database; the snapshot file's trailing checksum may follow at the end.
    package mutating func feed(_ bytes: UnsafeRawBufferPointer) {
        totalBytes += Int64(bytes.count)
        var rest = bytes
        if pageSize == 0 {
            // The page size stands in the first meta page; where that is damaged, the second is looked for at 4096.
            let n = min(rest.count, 8192 - pending.count)
            pending.append(contentsOf: rest[..<n])
            rest = UnsafeRawBufferPointer(rebasing: rest[n...])
            guard pending.count == 8192 else { return }
            pageSize = pending.withUnsafeBytes { head in
                if let meta = BoltMeta(page: head) { return Int(meta.pageSize) }
                return BoltMeta(page: UnsafeRawBufferPointer(rebasing: head[4096...])).map { Int($0.pageSize) } ?? 4096
            }
            let head = pending
            pending = []
            head.withUnsafeBytes { takePages($0) }
        }
        takePages(rest)
    }

    private mutating func takePages(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        if !pending.isEmpty {
            let n = min(rest.count, pageSize - pending.count)
            pending.append(contentsOf: rest[..<n])
            rest = UnsafeRawBufferPointer(rebasing: rest[n...])
            guard pending.count == pageSize else { return }
            let page = pending
            pending.removeAll(keepingCapacity: true)
            page.withUnsafeBytes { takePage($0) }
        }
        while rest.count >= pageSize {
            takePage(UnsafeRawBufferPointer(rebasing: rest[..<pageSize]), ahead: rest)
            rest = UnsafeRawBufferPointer(rebasing: rest[pageSize...])
        }
        pending.append(contentsOf: rest)
    }

    /// `ahead` begins with the page and holds what is at hand of those that follow it.
    private mutating func takePage(_ bytes: UnsafeRawBufferPointer, ahead: UnsafeRawBufferPointer? = nil) {
        let id = pages.count
        pages.append(Page())
        if id < 2 { metas.append(BoltMeta(page: bytes)) }
        for i in runs.indices { runs[i].bytes.append(contentsOf: bytes) }
        runBytes += runs.count * bytes.count
        while let i = runs.firstIndex(where: { $0.bytes.count >= $0.wanted }) {
            let run = runs.remove(at: i)
            runBytes -= run.bytes.count
            run.bytes.withUnsafeBytes { summarise($0, run.id) }
        }
        // What is not a page header of this very page is free, or belongs to the page before.
        guard bytes.u64(0) == UInt64(id) else { return }
        let flags = bytes.u16(8)
        let overflow = bytes.u32(12)
        switch flags {
        case BoltLayout.leafFlag, BoltLayout.branchFlag:
            pages[id].overflow = overflow
            if overflow == 0 { return summarise(bytes, id) }
            let wanted = (Int(overflow) + 1) * pageSize
            if let ahead, ahead.count >= wanted {
                return summarise(UnsafeRawBufferPointer(rebasing: ahead[..<wanted]), id)
            }
            guard wanted <= SnapshotScanner.maxRunBytes else {
                pages[id].kind = .unread
                return
            }
            pages[id].kind = .broken
            while runBytes + wanted > SnapshotScanner.maxRunBytes, !runs.isEmpty {
                let dropped = runs.removeFirst()
                runBytes -= dropped.bytes.count
                pages[dropped.id].kind = .unread
            }
            runs.append(Run(id: id, bytes: Array(bytes), wanted: wanted))
            runBytes += bytes.count
        case BoltLayout.freelistFlag:
            pages[id].kind = .freelist
            pages[id].overflow = overflow
        default: break
        }
    }

    private mutating func summarise(_ bytes: UnsafeRawBufferPointer, _ id: Int) {
        var problem = ""
        guard let node = BoltNode(bytes, problem: &problem) else {
            pages[id].kind = .broken
            return
        }
        var page = pages[id]
        page.count = UInt16(node.count)
        if node.count > 0 {
            page.first = BoltNode.prefix(node.key(0))
            page.last = BoltNode.prefix(node.key(node.count - 1))
        }
        if node.isLeaf {
            page.kind = .leaf
            var length = 0
            var buckets: [Bucket] = []
            for i in 0..<node.count {
                let (key, value) = (node.key(i), node.value(i))
                page.sum = CRC32C.update(CRC32C.update(page.sum, key), value)
                length += key.count + value.count
                if node.isBucket(i) { buckets.append(Bucket(name: Array(key), value: Array(value))) }
            }
            page.length = UInt32(truncatingIfNeeded: length)
            if !buckets.isEmpty {
                bucketBytes += bytes.count
                if bucketBytes <= SnapshotScanner.maxBucketBytes || metas.contains(where: { $0?.root == UInt64(id) }) {
                    bucketPages[id] = buckets
                }
            }
        } else {
            page.kind = .branch
            page.length = UInt32(truncatingIfNeeded: children.count)
            for i in 0..<node.count {
                children.append(UInt32(clamping: node.child(i)))
                childKeys.append(BoltNode.prefix(node.key(i)))
            }
        }
        pages[id] = page
    }

    // MARK: the end

    /// What the whole says. Everything that is wrong is in `problems`.
    package mutating func finish() -> SnapshotSummary {
        var summary = SnapshotSummary()
        summary.fileBytes = totalBytes
        let known = metas.compactMap { $0 }
        guard let meta = known.max(by: { $0.transaction < $1.transaction }) else {
            summary.problems = ["neither of the two meta pages is whole: this is no etcd database, or a damaged one"]
            return summary
        }
        summary.pageSize = Int(meta.pageSize)
        summary.transaction = meta.transaction
        summary.databaseBytes = Int64(meta.highWater) * Int64(meta.pageSize)
        guard UInt64(pages.count) >= meta.highWater else {
            summary.problems = ["\(pages.count) pages are there of \(meta.highWater): the database is cut off"]
            return summary
        }
        var walk = Walk(used: [Bool](repeating: false, count: Int(meta.highWater)))
        walk.used[0] = true
        walk.used[1] = true
        if meta.freelist != BoltLayout.noFreelist { _ = walk.claim(meta.freelist, pages) }
        var buckets: [Bucket] = []
        collectBuckets(meta.root, 0, &walk, &buckets)
        for bucket in buckets { add(bucket, &walk, &summary) }
        summary.problems = walk.problems
        summary.hash = walk.unread ? nil : walk.sum
        if walk.unread { summary.keyBucketHash = nil }
        summary.pagesInUse = Int64(walk.used.lazy.filter { $0 }.count)
        if summary.problems.isEmpty, !summary.buckets.contains(where: { $0.name == "key" }) {
            summary.problems.append("there is no bucket named key: this is a bbolt database, but not etcd's")
        }
        return summary
    }

    private struct Walk {
        var used: [Bool]
        var sum: UInt32 = 0
        var unread = false
        var problems: [String] = []

        mutating func problem(_ text: String) { if problems.count < 20 { problems.append(text) } }

        /// Marks the page and its overflow as part of the tree; false where that cannot be.
        mutating func claim(_ id: UInt64, _ pages: [Page]) -> Bool {
            guard id >= 2, id < UInt64(used.count) else {
                problem("page \(id) is referred to but lies outside the database")
                return false
            }
            let start = Int(id)
            let end = start + 1 + Int(pages[start].overflow)
            guard end <= used.count else {
                problem("page \(id) runs over the end of the database")
                return false
            }
            for i in start..<end {
                if used[i] {
                    problem("page \(i) is used twice")
                    return false
                }
                used[i] = true
            }
            return true
        }
    }

    private func collectBuckets(_ id: UInt64, _ depth: Int, _ walk: inout Walk, _ buckets: inout [Bucket]) {
        guard depth < 32, walk.claim(id, pages) else { return }
        let page = pages[Int(id)]
        switch page.kind {
        case .leaf:
            if let found = bucketPages[Int(id)] {
                if found.count != page.count {
                    walk.problem("page \(id) of the root holds something else than buckets")
                }
                buckets += found
            } else if page.count > 0 {
                walk.problem("page \(id) of the root holds something else than buckets")
            }
        case .branch:
            let start = Int(page.length)
            for i in start..<start + Int(page.count) {
                collectBuckets(UInt64(children[i]), depth + 1, &walk, &buckets)
            }
        default: walk.problem("page \(id) is damaged")
        }
    }

    private func add(_ bucket: Bucket, _ walk: inout Walk, _ summary: inout SnapshotSummary) {
        let name = String(decoding: bucket.name, as: UTF8.self)
        let isKeys = name == "key"
        var own = BucketWalk(sum: CRC32C.update(0, bucket.name), length: UInt64(bucket.name.count))
        guard bucket.value.count >= 16 else { return walk.problem("bucket \(name) is damaged") }
        bucket.value.withUnsafeBytes { value in
            let root = value.u64(0)
            if root != 0 {
                return tree(root, 0, 0, &walk, &own, name)
            }
            var problem = ""
            guard let node = BoltNode(UnsafeRawBufferPointer(rebasing: value[16...]), problem: &problem), node.isLeaf
            else { return walk.problem("bucket \(name): \(problem.isEmpty ? "no leaf" : problem)") }
            for i in 0..<node.count {
                let (key, value) = (node.key(i), node.value(i))
                own.add(CRC32C.update(CRC32C.update(0, key), value), UInt64(key.count + value.count))
                if isKeys { own.last = BoltNode.prefix(key) }
                if name != "key", value.count <= 4096 {
                    summary.small[name, default: []].append((Array(key), Array(value)))
                }
            }
            own.count += Int64(node.count)
        }
        walk.sum = CRC32C.combine(walk.sum, own.sum, lengthOfB: own.length)
        summary.buckets.append((name, own.count))
        summary.totalKeys += own.count
        if isKeys {
            summary.revision = Int64(bitPattern: own.last)
            summary.keyBucketHash = own.sum
        }
    }

    private struct BucketWalk {
        /// Over its name, keys and values, and how many bytes those are.
        var sum: UInt32
        var length: UInt64
        var count: Int64 = 0
        var last: UInt64 = 0
        var seen = false

        mutating func add(_ part: UInt32, _ count: UInt64) {
            sum = CRC32C.combine(sum, part, lengthOfB: count)
            length += count
        }
    }

    private func tree(
        _ id: UInt64, _ depth: Int, _ least: UInt64, _ walk: inout Walk, _ own: inout BucketWalk, _ name: String
    ) {
        guard depth < 32 else { return walk.problem("the tree of bucket \(name) is too deep") }
        guard walk.claim(id, pages) else { return }
        let page = pages[Int(id)]
        switch page.kind {
        case .leaf:
            own.add(page.sum, UInt64(page.length))
            own.count += Int64(page.count)
            guard page.count > 0 else { return }
            if page.first < least || (own.seen && page.first < own.last) {
                walk.problem("bucket \(name): the keys of page \(id) are out of order")
            }
            own.last = page.last
            own.seen = true
        case .branch:
            let start = Int(page.length)
            guard page.count > 0 else { return walk.problem("branch page \(id) is empty") }
            for i in start..<start + Int(page.count) {
                tree(UInt64(children[i]), depth + 1, childKeys[i], &walk, &own, name)
            }
        case .unread: walk.unread = true
        default: walk.problem("page \(id) of bucket \(name) is damaged")
        }
    }
}

/// What a snapshot holds.
package struct SnapshotSummary: Sendable {
    /// Bytes that were read, with the checksum where there is one.
    package var fileBytes: Int64 = 0
    /// Bytes of the database itself.
    package var databaseBytes: Int64 = 0
    package var pageSize = 0
    package var pagesInUse: Int64 = 0
    package var transaction: UInt64 = 0
    package var revision: Int64 = 0
    /// Entries of all buckets, as `etcdutl snapshot status` of etcd 3.4 and 3.5 counts them.
    package var totalKeys: Int64 = 0
    /// The hash that `etcdutl snapshot status` prints; nil where a page was too large to be read as a stream.
    package var hash: UInt32?
    /// The hash over bucket `key` alone: etcd's HashKV at the newest revision, where no compaction is under way.
    package var keyBucketHash: UInt32?
    package var buckets: [(name: String, keys: Int64)] = []
    /// Entries of small buckets other than `key` (members, meta, cluster, alarm).
    package var small: [String: [(key: [UInt8], value: [UInt8])]] = [:]
    /// What is wrong; empty when the database is whole.
    package var problems: [String] = []

    package init() {}
}
