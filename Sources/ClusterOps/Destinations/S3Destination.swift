import Glibc
package import Platform

/// A bucket of an S3-compatible store, or the part of one below a prefix. Objects appear whole or not at all, so nothing
/// unfinished is ever under a final name. Requests are signed with the key files as they are at that moment.
package final class S3Destination: Destination {
    package let name: String
    let options: S3Options
    let retry: TransferRetry
    let clock: WallClock
    let http: HTTPClient
    /// Whether the bucket keeps versions, once that was asked.
    let versioned = Lock<Bool?>(nil)
    /// Whether the store said that it knows no conditional writes.
    let ignoresConditions = Lock(false)
    /// Entries asked for per page of a listing; the server's own limit is 1000.
    let pageSize: Int

    package var location: String { "s3://\(options.bucket)/\(options.prefix)" }

    package init(
        name: String, options: S3Options, retry: TransferRetry = TransferRetry(), pageSize: Int = 1000,
        clock: WallClock = .system
    ) {
        self.name = name
        self.options = options
        self.retry = retry
        self.pageSize = pageSize
        self.clock = clock
        http = HTTPClient(name: "kops-s3")
    }

    package func list() async throws -> [StoredFile] {
        var files: [StoredFile] = []
        var token: String?
        repeat {
            var query = [
                ("list-type", "2"), ("max-keys", "\(pageSize)"), ("prefix", options.keyPrefix), ("delimiter", "/"),
            ]
            if let token { query.append(("continuation-token", token)) }
            let page = try await xml("list", S3Request("GET", query: query))
            for entry in page.all("Contents") {
                guard let key = entry.text("Key"), key.hasPrefix(options.keyPrefix),
                    let bytes = entry.text("Size").flatMap({ Int64($0) })
                else { continue }
                let name = String(key.dropFirst(options.keyPrefix.count))
                guard !name.isEmpty, !name.hasPrefix(".") else { continue }
                files.append(
                    StoredFile(name: name, bytes: bytes, modified: S3Time.parse(entry.text("LastModified")) ?? 0))
            }
            let next = page.text("IsTruncated") == "true" ? page.text("NextContinuationToken") : nil
            guard next == nil || next != token, files.count < 2_000_000 else {
                throw BackupError(.destination, "\(label): the listing has no end")
            }
            token = next
        } while token != nil
        return files.sorted { $0.name < $1.name }
    }

    package func get(_ name: String, to target: String, progress: ByteProgress?) async throws {
        try check(name)
        let sink = S3Sink(target)
        do {
            let length = try await retry.run { () async throws -> Result<Int64, TransferFailure> in
                try await self.download(name, sink, progress)
            }
            guard try sink.bytes == length else {
                throw BackupError(.destination, "\(label): \(name) ended after \(try sink.bytes) of \(length) bytes")
            }
            try await WorkerPool.blocking.run { try sink.commit() }
        } catch {
            sink.discard()
            throw error
        }
    }

    /// Goes on behind what came before, as long as the object is the same.
    private func download(_ name: String, _ sink: S3Sink, _ progress: ByteProgress?) async throws
        -> Result<Int64, TransferFailure>
    {
        var request = S3Request("GET", key: name)
        let have = try sink.begin()
        if have > 0, let tag = sink.tag {
            request.headers = [("range", "bytes=\(have)-"), ("if-match", tag)]
        }
        let (answer, failure) = try await attempt(
            "get \(name)", request,
            onHeaders: { status, headers in sink.announce(status, headers) },
            receive: { sink.take($0, progress) })
        if let problem = sink.problem { throw problem }
        if let answer, answer.status == 412 || answer.status == 416 {
            // Another object has come in its place: from the beginning.
            sink.restart()
            return .failure(
                TransferFailure(
                    error: BackupError(.destination, "\(label): \(name) changed while it was read"),
                    mayHelpAgain: true))
        }
        if let failure { return .failure(failure) }
        return .success(sink.total)
    }

    package func read(_ name: String, limit: Int) async throws -> [UInt8] {
        try check(name)
        var request = S3Request("GET", key: name)
        request.maxBodyBytes = limit
        return try await send("read \(name)", request).body
    }

    package func remove(_ name: String) async throws {
        try check(name)
        guard try await keepsVersions() else {
            _ = try await send("remove \(name)", S3Request("DELETE", key: name), good: [404])
            return
        }
        // A plain DELETE would only hide the object, and its bytes would stay, and be paid for.
        for version in try await versions(name) {
            let request = S3Request("DELETE", key: name, query: [("versionId", version)])
            let answer = try await send("remove \(name)", request, good: [403, 404])
            guard answer.status != 403 else {
                throw BackupError(
                    .refused, "\(label): \(name) may not be removed now: \(S3Problem(answer).text): is it locked?")
            }
        }
    }

    private func keepsVersions() async throws -> Bool {
        if let known = versioned.withLock({ $0 }) { return known }
        // Stores without the notion, and keys without the right to ask, answer with an error.
        let answer = try await send(
            "ask for versioning of", S3Request("GET", query: [("versioning", "")]), good: [400, 403, 404, 405, 501])
        let status = XMLElement.parse(answer.body)?.text("Status")
        let known = answer.status == 200 && (status == "Enabled" || status == "Suspended")
        versioned.withLock { $0 = known }
        return known
    }

    /// Of exactly that object, delete markers too; the current one last, so that what a failure leaves is still there to see.
    private func versions(_ name: String) async throws -> [String] {
        let key = options.keyPrefix + name
        var found: [(id: String, isLatest: Bool)] = []
        var marker: (key: String, id: String)?
        while true {
            var query = [("versions", ""), ("prefix", key), ("max-keys", "\(pageSize)")]
            if let marker { query += [("key-marker", marker.key), ("version-id-marker", marker.id)] }
            let page = try await xml("list versions of \(name)", S3Request("GET", query: query))
            for entry in page.children where entry.name == "Version" || entry.name == "DeleteMarker" {
                if entry.text("Key") == key, let id = entry.text("VersionId") {
                    found.append((id, entry.text("IsLatest") == "true"))
                }
            }
            guard page.text("IsTruncated") == "true", let next = page.text("NextKeyMarker"), next == key,
                found.count < 100_000
            else { break }
            marker = (next, page.text("NextVersionIdMarker") ?? "")
        }
        return found.filter { !$0.isLatest }.map(\.id) + found.filter(\.isLatest).map(\.id)
    }

    /// Parts of uploads that were never completed: they are in no listing, and are paid for.
    package func removeLeftovers(olderThan: Int64) async throws {
        var marker: (key: String, upload: String)?
        for _ in 0..<1000 {
            var query = [("uploads", ""), ("prefix", options.keyPrefix), ("max-uploads", "\(pageSize)")]
            if let marker { query += [("key-marker", marker.key), ("upload-id-marker", marker.upload)] }
            let page = try await xml("list uploads of", S3Request("GET", query: query))
            for upload in page.all("Upload") {
                guard let key = upload.text("Key"), key.hasPrefix(options.keyPrefix), let id = upload.text("UploadId"),
                    let began = S3Time.parse(upload.text("Initiated")), began < olderThan
                else { continue }
                let name = String(key.dropFirst(options.keyPrefix.count))
                guard !name.isEmpty, !name.contains("/") else { continue }
                await abort(name, id)
            }
            guard page.text("IsTruncated") == "true", let key = page.text("NextKeyMarker") else { return }
            marker = (key, page.text("NextUploadIdMarker") ?? "")
        }
    }

    func check(_ name: String) throws {
        guard !name.isEmpty, !name.hasPrefix("."), !name.contains("/") else {
            throw BackupError(.invalid, "\(name) is no name for an object of \(location)")
        }
    }
}

extension S3Options {
    /// What stands before each object's name.
    var keyPrefix: String {
        let parts = prefix.split(separator: "/")
        return parts.isEmpty ? "" : parts.joined(separator: "/") + "/"
    }
}

/// A file that a download fills, over several attempts. Its calls follow one another, on the client's thread or in between,
/// so that the lock is never waited for.
private final class S3Sink: Sendable {
    private struct State {
        var file: FileBeingWritten?
        var tag: String?
        var total: Int64 = 0
        var accepts = false
        var problem: (any Error)?
    }

    private let path: String
    private let state = Lock(State())

    init(_ path: String) { self.path = path }

    var tag: String? { state.withLock { $0.tag } }
    var total: Int64 { state.withLock { $0.total } }
    var problem: (any Error)? { state.withLock { $0.problem } }
    var bytes: Int64 { get throws { state.withLock { $0.file?.bytes ?? 0 } } }

    /// Bytes that are there already.
    func begin() throws -> Int64 {
        try state.withLock {
            if $0.tag == nil {
                $0.file?.discard()
                $0.file = nil
            }
            if $0.file == nil { $0.file = try FileBeingWritten(path) }
            $0.accepts = false
            return $0.file?.bytes ?? 0
        }
    }

    func restart() { state.withLock { $0.tag = nil } }

    func announce(_ status: Int, _ headers: [(name: String, value: String)]) {
        func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }
        state.withLock { state in
            guard status == 200 || status == 206 else { return }
            let have = state.file?.bytes ?? 0
            let length = header("content-length").flatMap { Int64($0) } ?? 0
            if status == 200, have > 0 {
                // The server does not do ranges.
                state.file?.discard()
                do { state.file = try FileBeingWritten(path) } catch { state.problem = error }
                state.total = length
            } else {
                state.total = have + length
            }
            state.tag = header("etag")
            state.accepts = true
        }
    }

    func take(_ piece: UnsafeRawBufferPointer, _ progress: ByteProgress?) -> Bool {
        let done: (Int64, Int64)? = state.withLock { state in
            // The text of an error is not part of the object.
            guard state.accepts, let file = state.file, state.problem == nil else { return nil }
            do {
                try file.write(piece)
                return (file.bytes, state.total)
            } catch {
                state.problem = error
                return nil
            }
        }
        if let done { progress?(done.0, done.1) }
        return problem == nil
    }

    func commit() throws { try state.withLock { try $0.file?.commit() } }

    func discard() {
        state.withLock {
            $0.file?.discard()
            $0.file = nil
        }
    }
}

enum S3Time {
    /// `2026-11-25T01:22:09.000Z` in milliseconds since 1970; nil where it is none.
    static func parse(_ text: String?) -> Int64? {
        guard let text else { return nil }
        let parts = text.split { "-T:.Z".contains($0) }.map { Int64($0) }
        guard parts.count >= 6, text.hasSuffix("Z"), let year = parts[0], let month = parts[1], let day = parts[2],
            let hour = parts[3], let minute = parts[4], let second = parts[5], (1...12).contains(month)
        else { return nil }
        let days = daysSinceEpoch(year: year, month: month, day: day)
        return ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000
    }
}
