import FoundationEssentials
import Glibc
import Platform

/// Files to objects: small ones in one request, large ones in parts that are repeated one by one. Every request carries the
/// hash of what it brings, so that a store that took other bytes refuses them.
extension S3Destination {
    package func put(file path: String, as name: String, progress: ByteProgress?) async throws {
        try await put(file: path, as: name, claim: nil, progress)
    }

    /// By a conditional request where the store has them. One that has not is asked beforehand, and whoever came last sees in
    /// the object whose it is.
    package func putNew(file path: String, as name: String, progress: ByteProgress?) async throws {
        let claim = S3Claim(token: DestinationName.token(), isConditional: !ignoresConditions.withLock { $0 })
        do {
            try await put(file: path, as: name, claim: claim, progress)
        } catch is S3Claim.NotSupported {
            ignoresConditions.withLock { $0 = true }
            try await put(file: path, as: name, claim: S3Claim(token: claim.token, isConditional: false), progress)
        }
    }

    private func put(file path: String, as name: String, claim: S3Claim?, _ progress: ByteProgress?) async throws {
        try check(name)
        if let claim, !claim.isConditional {
            let answer = try await send("look at \(name)", S3Request("HEAD", key: name), good: [404])
            guard answer.status == 404 else { throw DestinationName.taken(name, label) }
        }
        let file = try UploadFile(path)
        // A store takes ten thousand parts.
        let part = max(options.partSize, (file.bytes / 10_000 / (1 << 20) + 1) * (1 << 20))
        if file.bytes <= part {
            try await putWhole(file, name, claim, progress)
        } else {
            try await putParts(file, name, part, claim, progress)
        }
        let answer = try await send("look at \(name)", S3Request("HEAD", key: name))
        if let claim, let owner = answer.header(S3Claim.header), owner != claim.token {
            throw DestinationName.taken(name, label)
        }
        guard answer.header("content-length").flatMap({ Int64($0) }) == file.bytes else {
            throw BackupError(.destination, "\(label): \(name) did not arrive whole")
        }
    }

    private func putWhole(_ file: UploadFile, _ name: String, _ claim: S3Claim?, _ progress: ByteProgress?) async throws
    {
        var request = try await body(file, 0, file.bytes) { progress?($0, file.bytes) }
        request.method = "PUT"
        request.key = name
        request.headers += objectHeaders() + (claim?.ownerHeaders ?? []) + (claim?.conditionHeaders ?? [])
        let answer = try await send("put \(name)", request, good: claim?.refusals ?? [])
        try await judge(answer, name, claim)
        progress?(file.bytes, file.bytes)
    }

    private func putParts(
        _ file: UploadFile, _ name: String, _ size: Int64, _ claim: S3Claim?, _ progress: ByteProgress?
    ) async throws {
        var start = S3Request("POST", key: name, query: [("uploads", "")])
        start.headers = objectHeaders() + (claim?.ownerHeaders ?? [])
        guard let id = try await xml("begin the upload of \(name)", start).text("UploadId"), !id.isEmpty else {
            throw BackupError(.destination, "\(label): no upload of \(name) was begun: no identifier in the answer")
        }
        do {
            var parts: [String] = []
            var offset: Int64 = 0
            while offset < file.bytes {
                let from = offset
                let length = min(size, file.bytes - from)
                var request = try await body(file, from, length) { progress?(from + $0, file.bytes) }
                request.method = "PUT"
                request.key = name
                request.query = [("partNumber", "\(parts.count + 1)"), ("uploadId", id)]
                let answer = try await send("put part \(parts.count + 1) of \(name)", request)
                guard let tag = answer.header("etag") else {
                    throw BackupError(.destination, "\(label): part \(parts.count + 1) of \(name) got no tag")
                }
                parts.append(
                    "<Part><PartNumber>\(parts.count + 1)</PartNumber><ETag>\(escape(tag))</ETag></Part>")
                offset += length
                progress?(offset, file.bytes)
            }
            try await complete(name, id, parts, file.bytes, claim)
        } catch {
            // Even where the task was cancelled: parts left behind are paid for.
            await Task.detached { [self] in await abort(name, id) }.value
            throw error
        }
    }

    private func complete(
        _ name: String, _ id: String, _ parts: [String], _ bytes: Int64, _ claim: S3Claim?
    ) async throws {
        let text = "<CompleteMultipartUpload>\(parts.joined())</CompleteMultipartUpload>"
        var request = S3Request("POST", key: name, query: [("uploadId", id)])
        request.body = Array(text.utf8)
        request.bodySHA256 = hexadecimal(Digest.hash(.sha256, Array(text.utf8)))
        request.headers = [("content-type", "application/xml")] + (claim?.conditionHeaders ?? [])
        let signedRequest = request
        try await retry.run { () async throws -> Result<Void, TransferFailure> in
            let (answer, failure) = try await self.attempt("complete \(name)", signedRequest)
            if let answer, let claim, claim.refusals.contains(answer.status) {
                try await self.judge(answer, name, claim)
                return .success(())
            }
            if let failure {
                // An answer that was lost on its way: the upload is complete and therefore not known any more.
                if answer?.status == 404, try await self.has(name, bytes) { return .success(()) }
                return .failure(failure)
            }
            guard let answer else { return .success(()) }
            // The work may take long, so that its failure comes behind a status of 200.
            let problem = S3Problem(answer)
            guard problem.code.isEmpty else {
                return .failure(
                    TransferFailure(
                        error: BackupError(.destination, "\(self.label): complete \(name): \(problem.text)"),
                        mayHelpAgain: problem.isTemporary))
            }
            return .success(())
        }
    }

    /// What a store says to a condition. A refusal after an answer that was lost is of the object that came by that very request.
    private func judge(_ answer: HTTPResponse, _ name: String, _ claim: S3Claim?) async throws {
        guard let claim, claim.refusals.contains(answer.status) else { return }
        guard answer.status == 412 else { throw S3Claim.NotSupported() }
        let there = try await send("look at \(name)", S3Request("HEAD", key: name), good: [404])
        guard there.header(S3Claim.header) == claim.token else { throw DestinationName.taken(name, label) }
    }

    private func has(_ name: String, _ bytes: Int64) async throws -> Bool {
        let answer = try await send("look at \(name)", S3Request("HEAD", key: name), good: [404])
        return answer.status == 200 && answer.header("content-length").flatMap { Int64($0) } == bytes
    }

    /// Best effort: what stays is found by `removeLeftovers`.
    func abort(_ name: String, _ id: String) async {
        _ = try? await attempt("abort the upload of \(name)", S3Request("DELETE", key: name, query: [("uploadId", id)]))
    }

    private func objectHeaders() -> [(name: String, value: String)] {
        var headers: [(name: String, value: String)] = [("content-type", "application/octet-stream")]
        if let algorithm = options.serverSideEncryption { headers.append(("x-amz-server-side-encryption", algorithm)) }
        if let key = options.kmsKeyID { headers.append(("x-amz-server-side-encryption-aws-kms-key-id", key)) }
        if let storage = options.storageClass { headers.append(("x-amz-storage-class", storage)) }
        if let mode = options.objectLockMode, let time = options.objectLockFor {
            headers.append(("x-amz-object-lock-mode", mode))
            headers.append(
                (
                    "x-amz-object-lock-retain-until-date",
                    formatRFC3339(clock.nowMilliseconds() + time, fraction: false)
                ))
        }
        return headers
    }

    /// A request with a piece of the file as its body.
    private func body(
        _ file: UploadFile, _ offset: Int64, _ length: Int64, progress: @escaping @Sendable (Int64) -> Void
    ) async throws -> S3Request {
        let (sha256, md5) = try await cancellable { try file.hashes(offset, length, isCancelled: $0) }
        var request = S3Request("PUT")
        request.bodySHA256 = hexadecimal(sha256)
        // Stores ask for it where objects are locked; all check it.
        if !md5.isEmpty { request.headers.append(("content-md5", Data(md5).base64EncodedString())) }
        request.length = Int(length)
        request.source = {
            let done = Lock<Int64>(0)
            return { buffer in
                let at = done.withLock { $0 }
                let n = try file.read(at: offset + at, min(Int64(buffer.count), length - at), into: buffer)
                done.withLock { $0 += Int64(n) }
                progress(at + Int64(n))
                return n
            }
        }
        return request
    }

    private func escape(_ text: String) -> String {
        var out = ""
        for character in text {
            switch character {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            default: out.append(character)
            }
        }
        return out
    }
}

/// A name that is to be one writer's alone.
struct S3Claim: Sendable {
    /// The store knows no conditions on what is written.
    struct NotSupported: Error {}

    static let header = "x-amz-meta-kops-writer"
    var token: String
    var isConditional: Bool

    var ownerHeaders: [(name: String, value: String)] { [(S3Claim.header, token)] }
    var conditionHeaders: [(name: String, value: String)] { isConditional ? [("if-none-match", "*")] : [] }
    /// Precondition failed, and not implemented.
    var refusals: Set<Int> { isConditional ? [412, 501] : [] }
}

/// A file that is uploaded: opened once, so that its bytes are those of one file whatever is renamed meanwhile. Thread-safe.
final class UploadFile: Sendable {
    let path: String
    let bytes: Int64
    private let fd: Int32

    init(_ path: String) throws {
        self.path = path
        fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { throw FileError("read", path) }
        var info = stat()
        guard fstat(fd, &info) == 0 else {
            let error = FileError("look at", path)
            close(fd)
            throw error
        }
        bytes = Int64(info.st_size)
    }

    deinit { close(fd) }

    /// Up to `count` bytes; an error where the file ends before them.
    func read(at offset: Int64, _ count: Int64, into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard count > 0 else { return 0 }
        while true {
            let n = pread(fd, buffer.baseAddress, Int(count), off_t(offset))
            if n > 0 { return n }
            if n == 0 { throw BackupError(.failed, "\(path) has become shorter while it was uploaded") }
            if errno != EINTR { throw FileError("read", path) }
        }
    }

    /// SHA-256 and MD5 of a piece.
    func hashes(_ offset: Int64, _ length: Int64, isCancelled: () -> Bool) throws -> (sha256: [UInt8], md5: [UInt8]) {
        let sha256 = Digest(.sha256)
        let md5 = Digest(.md5)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
        defer { buffer.deallocate() }
        var done: Int64 = 0
        while done < length {
            if isCancelled() { throw BackupError(.cancelled, "cancelled while reading \(path)") }
            let n = try read(at: offset + done, min(Int64(buffer.count), length - done), into: buffer)
            sha256.update(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
            md5.update(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
            done += Int64(n)
        }
        return (sha256.finalize(), md5.finalize())
    }
}
