import Platform

/// Puts many entries behind all others of a bucket, writing each page once: the right edge of the tree is kept open, a full
/// page is written and named in the page above. Memory is one page for each level. For one thread at a time.
final class BoltAppender {
    private let edit: BoltEdit
    private let bucketIndex: Int
    private var leaf: [(UInt32, [UInt8], [UInt8])] = []
    private var leafBytes = 0
    /// Open branch pages, the one above the leaves first.
    private var branches: [[(key: [UInt8], page: UInt64)]] = []
    private var branchBytes: [Int] = []
    private var last: [UInt8]?

    init(_ edit: BoltEdit, _ bucket: String) throws {
        self.edit = edit
        bucketIndex = edit.bucket(bucket)
        let bucket = edit.buckets[bucketIndex]
        var id = bucket.root
        if id == 0 {
            try edit.file.withInline(bucket) { node in open(node) }
        }
        var depth = 0
        while id != 0 {
            guard depth < 32 else { throw EtcdError(.damaged, "\(edit.file.path): a bucket is no tree") }
            depth += 1
            id = try edit.file.withNode(id) { node -> UInt64 in
                guard !node.isLeaf else {
                    open(node)
                    return 0
                }
                guard node.count > 0 else { throw EtcdError(.damaged, "\(edit.file.path): a branch page is empty") }
                let children = (0..<node.count - 1).map { (key: Array(node.key($0)), page: node.child($0)) }
                branches.insert(children, at: 0)
                branchBytes.insert(children.reduce(0) { $0 + 16 + $1.key.count }, at: 0)
                return node.child(node.count - 1)
            }
        }
        last = leaf.last?.1
    }

    private func open(_ node: BoltNode) {
        for i in 0..<node.count {
            let (key, value) = (Array(node.key(i)), Array(node.value(i)))
            leaf.append((node.isBucket(i) ? BoltLayout.bucketElement : 0, key, value))
            leafBytes += 16 + key.count + value.count
        }
    }

    /// Keys must ascend and lie behind those that are there.
    func append(_ key: [UInt8], _ value: [UInt8]) throws {
        if let last, !last.lexicographicallyPrecedes(key) {
            throw EtcdError(.damaged, "\(edit.file.path): a change does not come after what is there already")
        }
        last = key
        let size = 16 + key.count + value.count
        if !leaf.isEmpty, BoltLayout.pageHeader + leafBytes + size > edit.pageSize { try closeLeaf() }
        leaf.append((0, key, value))
        leafBytes += size
    }

    /// Writes the open pages; `commit` of the edit makes it all count.
    func finish() throws {
        guard !leaf.isEmpty else { return }
        try closeLeaf()
        var level = 0
        while true {
            if level == branches.count - 1, branches[level].count == 1 {
                edit.buckets[bucketIndex].root = branches[level][0].page
                edit.buckets[bucketIndex].inline = []
                return
            }
            try closeBranch(level)
            level += 1
        }
    }

    private func closeLeaf() throws {
        let page = try edit.write(BoltLayout.leafFlag, leaf.count, edit.leaf(leaf))
        try add(0, leaf[0].1, page)
        leaf.removeAll(keepingCapacity: true)
        leafBytes = 0
    }

    private func add(_ level: Int, _ key: [UInt8], _ page: UInt64) throws {
        if level == branches.count {
            branches.append([])
            branchBytes.append(0)
        }
        let size = 16 + key.count
        if branches[level].count >= 2, BoltLayout.pageHeader + branchBytes[level] + size > edit.pageSize {
            try closeBranch(level)
        }
        branches[level].append((key, page))
        branchBytes[level] += size
    }

    private func closeBranch(_ level: Int) throws {
        let children = branches[level]
        branches[level] = []
        branchBytes[level] = 0
        let page = try edit.write(BoltLayout.branchFlag, children.count, edit.branch(children))
        try add(level + 1, children[0].key, page)
    }
}

/// Puts changes that etcd made after a snapshot into the snapshot's database, as etcd itself would have stored them: then
/// keys, values, revisions, versions and etcd's hash of them are the same. For one thread at a time; the file is to be thrown away after an error.
package final class ChangeReplay {
    private let edit: BoltEdit
    private let appender: BoltAppender
    private var leases: Set<Int64> = []
    /// Of the newest change in the database.
    package private(set) var revision: Int64
    private var sub: Int64 = 0
    /// Seconds. What a lease was granted for is not part of a change; this is what kube-apiserver asks for its events.
    private static let leaseSeconds: UInt64 = 3600
    private static let maxLeases = 60_000

    package init(_ path: String) throws {
        let file = try BoltFile(path, writable: true)
        revision = try file.revision()
        edit = try BoltEdit(file)
        appender = try BoltAppender(edit, "key")
    }

    /// The next change: of the revision before, or of a later one. `keyValue` is etcd's message as its Watch gave it.
    package func apply(revision main: Int64, isDelete: Bool, keyValue: [UInt8]) throws {
        sub = main == revision && started ? sub + 1 : 0
        guard main > revision || (started && main == revision) else {
            throw EtcdError(.damaged, "a change of revision \(main) comes after revision \(revision)")
        }
        started = true
        revision = main
        var key: [UInt8] = []
        for i in 0..<8 { key.append(UInt8(truncatingIfNeeded: UInt64(main) >> (8 * UInt64(7 - i)))) }
        key.append(UInt8(ascii: "_"))
        for i in 0..<8 { key.append(UInt8(truncatingIfNeeded: UInt64(sub) >> (8 * UInt64(7 - i)))) }
        guard isDelete else {
            try noteLease(keyValue)
            return try appender.append(key, keyValue)
        }
        // A tombstone holds the key alone.
        var tombstone = ProtobufWriter()
        var reader = ProtobufReader(keyValue)
        while let (field, value) = try reader.next() {
            if field == 1, case .bytes(let range) = value { tombstone.add(1, bytes: Array(keyValue[range])) }
        }
        try appender.append(key + [UInt8(ascii: "t")], tombstone.bytes)
    }

    private var started = false

    private func noteLease(_ keyValue: [UInt8]) throws {
        var reader = ProtobufReader(keyValue)
        while let (field, value) = try reader.next() {
            if field == 6, case .number(let id) = value, id != 0, leases.count < ChangeReplay.maxLeases {
                leases.insert(Int64(bitPattern: id))
            }
        }
    }

    /// Makes all changes count.
    package func finish() throws {
        try appender.finish()
        try addLeases()
        try edit.commit()
    }

    /// Keys under a lease the snapshot does not know would never expire: the lease is made anew.
    private func addLeases() throws {
        guard !leases.isEmpty else { return }
        try edit.ensure("lease")
        let known = Set(try edit.file.entries(edit.buckets[edit.bucket("lease")]).map(\.key))
        var new: [BoltEdit.Entry] = []
        for id in leases.sorted() {
            let key = (0..<8).map { UInt8(truncatingIfNeeded: UInt64(bitPattern: id) >> (8 * UInt64(7 - $0))) }
            if known.contains(key) { continue }
            var lease = ProtobufWriter()
            lease.add(1, signed: id)
            lease.add(2, ChangeReplay.leaseSeconds)
            new.append((key, lease.bytes))
        }
        if !new.isEmpty, known.count + new.count < ChangeReplay.maxLeases { try edit.set("lease", new) }
    }
}
