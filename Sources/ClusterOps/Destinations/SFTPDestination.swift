import Glibc
package import Platform

/// A directory of an SFTP server, through libcurl and libssh2. Files are written as `<name>.part`, their size compared, and
/// renamed. Where a file of that name is there it is removed first (SFTP does not rename over files), so for a moment there is
/// neither; backups have names of their own and never replace each other.
package final class SFTPDestination: Destination {
    package let name: String
    let options: SFTPOptions
    let retry: TransferRetry
    let clock: WallClock
    let http: HTTPClient
    private let directory: String

    package var location: String {
        "sftp://\(options.user)@\(options.host)\(options.port == 22 ? "" : ":\(options.port)")\(directory)"
    }

    package init(
        name: String, options: SFTPOptions, retry: TransferRetry = TransferRetry(), clock: WallClock = .system
    ) {
        self.name = name
        self.options = options
        self.retry = retry
        self.clock = clock
        http = HTTPClient(name: "kops-sftp")
        let parts = options.path.split(separator: "/")
        directory = "/" + parts.joined(separator: "/")
    }

    package func list() async throws -> [StoredFile] {
        try await entries().filter { !$0.name.hasPrefix(".") && !$0.name.hasSuffix(LocalDestination.partSuffix) }
    }

    package func put(file path: String, as name: String, progress: ByteProgress?) async throws {
        try await put(path, name, isNew: false, progress)
    }

    /// SFTP's rename leaves a file that has the name already.
    package func putNew(file path: String, as name: String, progress: ByteProgress?) async throws {
        try await put(path, name, isNew: true, progress)
    }

    private func put(_ path: String, _ name: String, isNew: Bool, _ progress: ByteProgress?) async throws {
        try check(name)
        let file = try UploadFile(path)
        let part = name + (isNew ? "." + DestinationName.token() : "") + LocalDestination.partSuffix
        do {
            try await upload(file, part, progress)
            guard try await entries().first(where: { $0.name == part })?.bytes == file.bytes else {
                throw BackupError(.destination, "\(label): \(name) did not arrive whole")
            }
            let rename = "rename \(quoted(part)) \(quoted(name))"
            do {
                try await commands(
                    "rename \(part)", isNew ? [rename] : ["*rm \(quoted(name))", rename],
                    isDone: { files in
                        files.contains { $0.name == name && $0.bytes == file.bytes }
                            && !files.contains { $0.name == part }
                    })
            } catch let error as BackupError where isNew && error.code == .destination {
                let files = try await entries().map(\.name)
                guard files.contains(name), files.contains(part) else { throw error }
                throw DestinationName.taken(name, label)
            }
        } catch {
            // Even where the task was cancelled: nothing of an attempt stays.
            await Task.detached { [self] in _ = try? await http.sftp(request(.none, commands: ["*rm \(quoted(part))"]))
            }
            .value
            throw error
        }
        progress?(file.bytes, file.bytes)
    }

    private func upload(_ file: UploadFile, _ part: String, _ progress: ByteProgress?) async throws {
        _ = try await send("put \(part)") {
            var request = try self.request(.upload, file: part)
            request.bodyLength = Int(file.bytes)
            let done = Lock<Int64>(0)
            request.bodySource = { buffer in
                let at = done.withLock { $0 }
                let n = try file.read(at: at, min(Int64(buffer.count), file.bytes - at), into: buffer)
                done.withLock { $0 += Int64(n) }
                progress?(at + Int64(n), file.bytes)
                return n
            }
            return try await self.http.sftp(request)
        }
    }

    package func get(_ name: String, to target: String, progress: ByteProgress?) async throws {
        try check(name)
        guard let total = try await entries().first(where: { $0.name == name })?.bytes else {
            throw BackupError(.notFound, "\(label): there is no \(name)")
        }
        let sink = Lock<FileBeingWritten?>(nil)
        let problem = Lock<(any Error)?>(nil)
        do {
            _ = try await send("get \(name)") {
                let file = try FileBeingWritten(target)
                sink.withLock { $0 = file }
                let answer = try await self.http.sftp(self.request(.download, file: name)) { piece in
                    do {
                        try file.write(piece)
                        progress?(file.bytes, total)
                        return true
                    } catch {
                        problem.withLock { $0 = error }
                        return false
                    }
                }
                return answer
            }
            if let problem = problem.withLock({ $0 }) { throw problem }
            try await WorkerPool.blocking.run {
                try sink.withLock { file in
                    guard let file, file.bytes == total else {
                        throw BackupError(.destination, "\(self.label): \(name) ended before its \(total) bytes")
                    }
                    try file.commit()
                }
            }
        } catch {
            sink.withLock { $0?.discard() }
            if let problem = problem.withLock({ $0 }) { throw problem }
            throw error
        }
    }

    package func read(_ name: String, limit: Int) async throws -> [UInt8] {
        try check(name)
        return try await send("read \(name)") {
            var request = try self.request(.download, file: name)
            request.maxBodyBytes = limit
            return try await self.http.sftp(request)
        }.body
    }

    package func remove(_ name: String) async throws {
        try check(name)
        guard try await entries().contains(where: { $0.name == name }) else { return }
        try await commands("remove \(name)", ["rm \(quoted(name))"]) { files in !files.contains { $0.name == name } }
    }

    package func removeLeftovers(olderThan: Int64) async throws {
        // Listings give the server's local time: half a day and more of doubt is left to it.
        let limit = olderThan - 14 * 3_600_000
        for file in try await entries()
        where file.name.hasSuffix(LocalDestination.partSuffix) && file.modified < limit && file.modified > 0 {
            try await commands("remove \(file.name)", ["rm \(quoted(file.name))"]) { files in
                !files.contains { $0.name == file.name }
            }
        }
    }

    private func check(_ name: String) throws {
        guard !name.isEmpty, !name.hasPrefix("."), !name.contains("/"), !name.contains("\n") else {
            throw BackupError(.invalid, "\(name) is no name for a file in \(location)")
        }
    }

    // MARK: exchanges

    private var label: String { "\(name) (\(location))" }

    /// All regular files, unfinished ones too; none where the directory is not there.
    private func entries() async throws -> [StoredFile] {
        do {
            let answer = try await send("list") {
                var request = try self.request(.list)
                request.maxBodyBytes = 64 << 20
                return try await self.http.sftp(request)
            }
            let now = clock.nowMilliseconds()
            return answer.body.split(separator: UInt8(ascii: "\n"))
                .compactMap { SFTPListing.parse(String(decoding: $0, as: UTF8.self), now: now) }
                .sorted { $0.name < $1.name }
        } catch let error as BackupError where error.code == .notFound {
            return []
        }
    }

    /// Commands that may be repeated; where the server says no, its listing says whether they were done nevertheless.
    private func commands(
        _ what: String, _ commands: [String], isDone: @Sendable ([StoredFile]) -> Bool
    ) async throws {
        do {
            _ = try await send(what) { try await self.http.sftp(self.request(.none, commands: commands)) }
        } catch let error as BackupError where error.code != .cancelled {
            guard isDone(try await entries()) else { throw error }
        }
    }

    private func send(_ what: String, _ exchange: () async throws -> HTTPResponse) async throws -> HTTPResponse {
        try await retry.run { () async throws -> Result<HTTPResponse, TransferFailure> in
            do {
                return .success(try await exchange())
            } catch let error as HTTPError {
                return .failure(try self.failure(what, error))
            }
        }
    }

    private func failure(_ what: String, _ error: HTTPError) throws -> TransferFailure {
        switch error.kind {
        case .cancelled: throw BackupError(.cancelled, "\(label): \(what) was cancelled")
        case .bodyTooLarge: throw BackupError(.damaged, "\(label): \(what): it is larger than expected")
        default: break
        }
        func failed(_ text: String, _ code: BackupError.Code = .destination, again: Bool = false) -> TransferFailure {
            TransferFailure(error: BackupError(code, "\(label): \(what): \(text)"), mayHelpAgain: again)
        }
        // libcurl's codes, as enumerated in curl.h.
        switch error.curlCode {
        case 60:
            return failed(
                "the server's key is not the one in \(options.knownHostsFile ?? "host_key_sha256"): is it another server?"
            )
        case 67:
            return failed(
                "the server does not take this key or password for \(options.user) (libssh2 before 1.11 knows RSA keys only in a form that OpenSSH refuses: use ed25519)"
            )
        case 78: return failed("there is no such file", .notFound)
        case 9: return failed("the server does not allow it")
        case 70: return failed("the server has no room")
        case 21: return failed("the server did not do it")
        case 3, 4, 26, 43: return failed(error.message)
        default: return failed(error.message, again: true)
        }
    }

    private func request(_ action: SFTPRequest.Action, file: String? = nil, commands: [String] = []) throws
        -> SFTPRequest
    {
        let host = options.host.contains(":") ? "[\(options.host)]" : options.host
        let path = directory.split(separator: "/").map { percentEncoded(String($0)) }.joined(separator: "/")
        let base = "sftp://\(host):\(options.port)/" + (path.isEmpty ? "" : path + "/")
        // Commands need no directory: the root is always there.
        let url = action == .none ? "sftp://\(host):\(options.port)/" : base + (file.map { percentEncoded($0) } ?? "")
        var request = SFTPRequest(action, url)
        request.user = options.user
        request.privateKeyFile = options.privateKeyFile
        request.password = try secret(options.passwordFile)
        request.passphrase = try secret(options.passphraseFile)
        request.knownHostsFile = options.knownHostsFile
        request.hostKeySHA256 = options.hostKeySHA256
        request.commands = commands
        request.lowSpeedLimit = (1, .milliseconds(options.timeout))
        return request
    }

    private func secret(_ file: String?) throws -> String? {
        guard let file else { return nil }
        do {
            let text = try FileSystem.readText(file, maxBytes: 64 << 10)
            return text.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
        } catch {
            throw BackupError(.invalid, "\(name): \(error)")
        }
    }

    private func quoted(_ file: String) -> String {
        var out = "\""
        for character in (directory == "/" ? "/" : directory + "/") + file {
            if character == "\"" || character == "\\" { out.append("\\") }
            out.append(character)
        }
        return out + "\""
    }
}

/// Lines of `ls -l` as SFTP servers send them.
enum SFTPListing {
    /// A regular file, or nil. The time is taken as UTC, whatever the server's zone; 0 where it cannot be read.
    static func parse(_ line: String, now: Int64) -> StoredFile? {
        let fields = line.split(separator: " ", maxSplits: 8, omittingEmptySubsequences: true)
        guard fields.count == 9, fields[0].hasPrefix("-"), let bytes = Int64(fields[4]) else { return nil }
        var name = fields[8]
        while name.last == "\r" { name = name.dropLast() }
        return StoredFile(
            name: String(name.drop { $0 == " " }), bytes: bytes,
            modified: time(fields[5], fields[6], fields[7], now) ?? 0)
    }

    private static func time(_ month: Substring, _ day: Substring, _ rest: Substring, _ now: Int64) -> Int64? {
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        guard let index = months.firstIndex(of: String(month)), let day = Int64(day) else { return nil }
        let clock = rest.split(separator: ":").map { Int64($0) }
        let number = Int64(index + 1)
        if clock.count == 1, let year = Int64(rest) {
            return daysSinceEpoch(year: year, month: number, day: day) * 86_400_000
        }
        guard clock.count == 2, let hour = clock[0], let minute = clock[1] else { return nil }
        let year = civilDate(daysSinceEpoch: now / 86_400_000).year
        func at(_ year: Int64) -> Int64 {
            daysSinceEpoch(year: year, month: number, day: day) * 86_400_000 + (hour * 60 + minute) * 60_000
        }
        // Without a year it is within the last months: not in the future, but for zones.
        return at(year) > now + 86_400_000 ? at(year - 1) : at(year)
    }
}
