import Glibc
import Platform

/// A bbolt file that nobody writes, read page by page. For one thread at a time.
package final class BoltFile {
    package let path: String
    let fd: Int32
    package let meta: BoltMeta
    /// The higher transaction number of both meta pages.
    let newestTransaction: UInt64
    var pageSize: Int { Int(meta.pageSize) }

    package struct Bucket {
        package var name: [UInt8]
        package var root: UInt64
        package var sequence: UInt64
        /// The page of an inline bucket.
        var inline: [UInt8]
    }

    package init(_ path: String, writable: Bool = false) throws {
        self.path = path
        fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC)
        guard fd >= 0 else { throw FileError(writable ? "write" : "read", path) }
        var head = [UInt8](repeating: 0, count: 128)
        var metas: [BoltMeta] = []
        // The second meta page lies one page in, whatever a page is.
        for offset in [0, 4096, 16384, 65536, 8192, 32768] {
            let n = pread(fd, &head, head.count, off_t(offset))
            guard n == head.count else { continue }
            if let meta = head.withUnsafeBytes({ BoltMeta(page: $0) }), offset == 0 || Int(meta.pageSize) == offset {
                metas.append(meta)
            }
        }
        guard let meta = metas.max(by: { $0.transaction < $1.transaction }) else {
            close(fd)
            throw EtcdError(.damaged, "\(path) is no etcd database, or both its meta pages are damaged")
        }
        self.meta = meta
        newestTransaction = meta.transaction
        let length = lseek(fd, 0, SEEK_END)
        guard Int64(length) >= Int64(meta.highWater) * Int64(meta.pageSize) else {
            close(fd)
            throw EtcdError(
                .damaged, "\(path) is cut off: \(length) bytes of \(meta.highWater * UInt64(meta.pageSize))")
        }
    }

    deinit { close(fd) }

    /// The page with its overflow pages.
    func page(_ id: UInt64) throws -> [UInt8] {
        guard id >= 2, id < meta.highWater else { throw damaged("page \(id) lies outside the database") }
        var bytes = try read(Int(id) * pageSize, pageSize)
        let (number, overflow) = bytes.withUnsafeBytes { ($0.u64(0), Int($0.u32(12))) }
        guard number == id else { throw damaged("page \(id) says it is page \(number)") }
        guard id + UInt64(overflow) < meta.highWater, overflow < 1 << 20 else {
            throw damaged("page \(id) runs over the end of the database")
        }
        if overflow > 0 { bytes += try read((Int(id) + 1) * pageSize, overflow * pageSize) }
        return bytes
    }

    private func read(_ offset: Int, _ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            let n = bytes.withUnsafeMutableBytes { raw in
                pread(fd, raw.baseAddress.map { $0 + done }, count - done, off_t(offset + done))
            }
            if n < 0 && errno == EINTR { continue }
            guard n > 0 else { throw FileError("read", path) }
            done += n
        }
        return bytes
    }

    private func damaged(_ what: String) -> EtcdError { EtcdError(.damaged, "\(path): \(what)") }

    /// Hands the node at `id` to `body`; refuses damaged ones.
    func withNode<R>(_ id: UInt64, _ body: (BoltNode) throws -> R) throws -> R {
        try page(id).withUnsafeBytes { bytes in
            var problem = ""
            guard let node = BoltNode(bytes, problem: &problem) else { throw damaged("page \(id): \(problem)") }
            return try body(node)
        }
    }

    /// All buckets, in order.
    package func buckets() throws -> [Bucket] {
        var buckets: [Bucket] = []
        try collect(meta.root, 0, &buckets)
        return buckets
    }

    private func collect(_ id: UInt64, _ depth: Int, _ buckets: inout [Bucket]) throws {
        guard depth < 32, buckets.count < 10_000 else { throw damaged("its root is no tree") }
        var children: [UInt64] = []
        try withNode(id) { node in
            for i in 0..<node.count {
                guard node.isLeaf else {
                    children.append(node.child(i))
                    continue
                }
                let value = node.value(i)
                guard node.isBucket(i), value.count >= 16 else { throw damaged("its root holds more than buckets") }
                let root = value.u64(0)
                buckets.append(
                    Bucket(
                        name: Array(node.key(i)), root: root, sequence: value.u64(8),
                        inline: root == 0 ? Array(value[16...]) : []))
            }
        }
        for child in children { try collect(child, depth + 1, &buckets) }
    }

    /// Entries of a bucket that is known to be small; an error beyond 100,000.
    package func entries(_ bucket: Bucket) throws -> [(key: [UInt8], value: [UInt8])] {
        var entries: [(key: [UInt8], value: [UInt8])] = []
        try forEach(bucket) { key, value in
            guard entries.count < 100_000 else { throw damaged("a bucket is larger than it can be") }
            entries.append((Array(key), Array(value)))
        }
        return entries
    }

    /// Every entry of the bucket, in order of keys.
    package func forEach(
        _ bucket: Bucket, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws -> Void
    ) throws {
        if bucket.root != 0 { return try walk(bucket.root, 0, body) }
        try withInline(bucket) { node in for i in 0..<node.count { try body(node.key(i), node.value(i)) } }
    }

    func withInline<R>(_ bucket: Bucket, _ body: (BoltNode) throws -> R) throws -> R {
        try bucket.inline.withUnsafeBytes { bytes in
            var problem = ""
            guard let node = BoltNode(bytes, problem: &problem), node.isLeaf else {
                throw damaged("bucket \(String(decoding: bucket.name, as: UTF8.self)): \(problem)")
            }
            return try body(node)
        }
    }

    private func walk(
        _ id: UInt64, _ depth: Int, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws -> Void
    ) throws {
        guard depth < 32 else { throw damaged("a bucket is no tree") }
        try withNode(id) { node in
            for i in 0..<node.count {
                if node.isLeaf {
                    try body(node.key(i), node.value(i))
                } else {
                    try walk(node.child(i), depth + 1, body)
                }
            }
        }
    }

    /// The bucket's last key, nil where it is empty.
    package func lastKey(_ bucket: Bucket) throws -> [UInt8]? {
        if bucket.root == 0 {
            return try withInline(bucket) { node in node.count == 0 ? nil : Array(node.key(node.count - 1)) }
        }
        var id = bucket.root
        for _ in 0..<32 {
            let (child, key): (UInt64?, [UInt8]?) = try withNode(id) { node in
                guard node.count > 0 else { return (nil, nil) }
                return node.isLeaf ? (nil, Array(node.key(node.count - 1))) : (node.child(node.count - 1), nil)
            }
            guard let child else { return key }
            id = child
        }
        throw damaged("a bucket is no tree")
    }

    /// Revision of the newest entry of etcd's keys; 0 where there is none.
    package func revision() throws -> Int64 {
        guard let bucket = try buckets().first(where: { $0.name == Array("key".utf8) }), let key = try lastKey(bucket),
            key.count >= 8
        else { return 0 }
        return Int64(bitPattern: key.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
    }
}
