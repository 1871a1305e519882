import Glibc
import Platform

/// Changes a bbolt file as one transaction: new pages behind the last, then a new root, then the other meta page. Until that
/// page is written the file is what it was. The freelist is not kept (as etcd has it): bbolt finds free pages on opening.
final class BoltEdit {
    let file: BoltFile
    private var nextPage: UInt64
    var buckets: [BoltFile.Bucket]
    var pageSize: Int { file.pageSize }

    init(_ file: BoltFile) throws {
        self.file = file
        nextPage = file.meta.highWater
        buckets = try file.buckets()
    }

    typealias Entry = (key: [UInt8], value: [UInt8])

    /// The bucket gets just these entries; it is made where it is not there.
    func replace(_ name: String, _ entries: [Entry]) throws {
        let sorted = entries.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        let i = bucket(name)
        let body = leaf(sorted.map { (0, $0.key, $0.value) })
        // bbolt keeps buckets of up to a quarter of a page in their parent.
        if 16 + body.count <= pageSize / 4 {
            buckets[i].root = 0
            buckets[i].inline = header(0, BoltLayout.leafFlag, sorted.count, 0) + body
        } else {
            buckets[i].root = try write(BoltLayout.leafFlag, sorted.count, body)
            buckets[i].inline = []
        }
    }

    /// Sets keys of a small bucket, leaving its others.
    func set(_ name: String, _ changes: [Entry]) throws {
        var entries = try file.entries(buckets[bucket(name)])
        for change in changes {
            if let i = entries.firstIndex(where: { $0.key == change.key }) {
                entries[i].value = change.value
            } else {
                entries.append(change)
            }
        }
        try replace(name, entries)
    }

    /// Makes the bucket where it is not there.
    func ensure(_ name: String) throws {
        guard !buckets.contains(where: { $0.name == Array(name.utf8) }) else { return }
        try replace(name, [])
    }

    /// Puts an entry behind all others of a bucket of any size, copying only the path to its last leaf.
    func append(_ name: String, _ key: [UInt8], _ value: [UInt8]) throws {
        let i = bucket(name)
        guard buckets[i].root != 0 else {
            var entries = try file.entries(buckets[i])
            entries.append((key, value))
            return try replace(name, entries)
        }
        buckets[i].root = try copyPath(buckets[i].root, key, value, 0)
    }

    func lastKey(_ name: String) throws -> [UInt8]? { try file.lastKey(buckets[bucket(name)]) }

    /// Writes root and meta page and makes all of it durable.
    func commit() throws {
        let elements = buckets.sorted { $0.name.lexicographicallyPrecedes($1.name) }.map {
            bucket -> (UInt32, [UInt8], [UInt8]) in
            var value = LittleEndianWriter()
            value.u64(bucket.root)
            value.u64(bucket.sequence)
            return (BoltLayout.bucketElement, bucket.name, value.bytes + bucket.inline)
        }
        let root = try write(BoltLayout.leafFlag, elements.count, leaf(elements))
        var meta = file.meta
        meta.root = root
        meta.freelist = BoltLayout.noFreelist
        meta.highWater = nextPage
        meta.transaction = file.newestTransaction + 1
        // The pages first, then the page that makes them count.
        if ftruncate(file.fd, off_t(nextPage) * off_t(pageSize)) != 0 { throw FileError("write", file.path) }
        if fdatasync(file.fd) != 0 { throw FileError("sync", file.path) }
        let number = meta.transaction % 2
        try write(meta.page(number: number), at: Int(number) * pageSize)
        if fsync(file.fd) != 0 { throw FileError("sync", file.path) }
    }

    // MARK: pages

    func bucket(_ name: String) -> Int {
        let name = Array(name.utf8)
        if let i = buckets.firstIndex(where: { $0.name == name }) { return i }
        buckets.append(
            BoltFile.Bucket(name: name, root: 0, sequence: 0, inline: header(0, BoltLayout.leafFlag, 0, 0)))
        return buckets.count - 1
    }

    private func copyPath(_ id: UInt64, _ key: [UInt8], _ value: [UInt8], _ depth: Int) throws -> UInt64 {
        guard depth < 32 else { throw EtcdError(.damaged, "\(file.path): a bucket is no tree") }
        let page = try file.page(id)
        return try page.withUnsafeBytes { bytes in
            var problem = ""
            guard let node = BoltNode(bytes, problem: &problem) else {
                throw EtcdError(.damaged, "\(file.path): page \(id): \(problem)")
            }
            if node.isLeaf {
                var elements = (0..<node.count).map { i in
                    (node.isBucket(i) ? BoltLayout.bucketElement : 0, Array(node.key(i)), Array(node.value(i)))
                }
                elements.append((0, key, value))
                return try write(BoltLayout.leafFlag, elements.count, leaf(elements))
            }
            guard node.count > 0 else { throw EtcdError(.damaged, "\(file.path): page \(id) is empty") }
            let child = try copyPath(node.child(node.count - 1), key, value, depth + 1)
            let children = (0..<node.count).map { i in
                (key: Array(node.key(i)), page: i == node.count - 1 ? child : node.child(i))
            }
            return try write(BoltLayout.branchFlag, node.count, branch(children))
        }
    }

    /// Elements and keys of a branch, without the page's header.
    func branch(_ children: [(key: [UInt8], page: UInt64)]) -> [UInt8] {
        var table = LittleEndianWriter()
        var data: [UInt8] = []
        for (i, child) in children.enumerated() {
            table.u32(UInt32(16 * children.count - 16 * i + data.count))
            table.u32(UInt32(child.key.count))
            table.u64(child.page)
            data += child.key
        }
        return table.bytes + data
    }

    /// Elements and data of a leaf, without the page's header.
    func leaf(_ elements: [(UInt32, [UInt8], [UInt8])]) -> [UInt8] {
        var table = LittleEndianWriter()
        var data: [UInt8] = []
        for (i, element) in elements.enumerated() {
            table.u32(element.0)
            table.u32(UInt32(16 * elements.count - 16 * i + data.count))
            table.u32(UInt32(element.1.count))
            table.u32(UInt32(element.2.count))
            data += element.1 + element.2
        }
        return table.bytes + data
    }

    private func header(_ id: UInt64, _ flags: UInt16, _ count: Int, _ overflow: Int) -> [UInt8] {
        var header = LittleEndianWriter()
        header.u64(id)
        header.u16(flags)
        header.u16(UInt16(count))
        header.u32(UInt32(overflow))
        return header.bytes
    }

    /// Writes a page behind the last, with as many overflow pages as it takes, and gives its number.
    func write(_ flags: UInt16, _ count: Int, _ body: [UInt8]) throws -> UInt64 {
        guard count <= 0xffff else { throw EtcdError(.damaged, "\(file.path): too many entries for one page") }
        let pages = (16 + body.count + pageSize - 1) / pageSize
        let id = nextPage
        nextPage += UInt64(pages)
        let bytes = header(id, flags, count, pages - 1) + body
        try write(bytes + [UInt8](repeating: 0, count: pages * pageSize - bytes.count), at: Int(id) * pageSize)
        return id
    }

    private func write(_ bytes: [UInt8], at offset: Int) throws {
        var done = 0
        while done < bytes.count {
            let n = bytes.withUnsafeBytes { raw in
                pwrite(file.fd, raw.baseAddress.map { $0 + done }, bytes.count - done, off_t(offset + done))
            }
            if n < 0 {
                if errno == EINTR { continue }
                throw FileError("write", file.path)
            }
            done += n
        }
    }
}
