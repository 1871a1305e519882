import Glibc
import Platform
import Testing

@testable import ClusterOps

/// Kinds of places that all keep the same promises.
enum PlaceKind: String, CaseIterable, Sendable {
    case local, s3, s3Versioned, sftp

    static var there: [PlaceKind] {
        allCases.filter { kind in
            switch kind {
            case .local: true
            case .s3, .s3Versioned: S3Server.isThere
            case .sftp: SSHServer.isThere
            }
        }
    }

    func make() async throws -> any Destination {
        switch self {
        case .local: return LocalDestination(name: "local", path: try temporaryDirectory() + "/place")
        case .s3:
            let server = try #require(S3Server.shared)
            return server.destination(try await server.bucket())
        case .s3Versioned:
            let server = try #require(S3Server.shared)
            let options = try await server.bucket()
            try await keepVersions(server, options)
            return server.destination(options)
        case .sftp:
            let server = try #require(SSHServer.shared)
            return server.destination(server.options())
        }
    }
}

func keepVersions(_ server: S3Server, _ options: S3Options) async throws {
    var request = HTTPRequest("PUT", "http://127.0.0.1:\(server.moto)/\(options.bucket)?versioning")
    request.body = Array("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>".utf8)
    _ = try await server.ask(request)
}

/// A file of bytes that compress badly and tell when pieces are swapped.
func sourceFile(_ bytes: Int, seed: UInt64 = 1) throws -> String {
    var random = SplitMix(seed)
    var content = [UInt8](repeating: 0, count: bytes)
    var i = 0
    while i < bytes {
        let word = random.next()
        for k in 0..<min(8, bytes - i) { content[i + k] = UInt8(truncatingIfNeeded: word >> (8 * UInt64(k))) }
        i += 8
    }
    let path = try temporaryDirectory() + "/source"
    try AtomicFile.write(content, to: path)
    return path
}

@Suite struct DestinationContractTests {
    @Test(arguments: PlaceKind.there) func whatIsPutIsThereToTheLastByte(_ kind: PlaceKind) async throws {
        let place = try await kind.make()
        #expect(try await place.list().isEmpty)
        let sizes = [0, 1, 70_000, 12 << 20]
        for (i, size) in sizes.enumerated() {
            let moved = Lock<(Int64, Int64)>((0, 0))
            let path = try sourceFile(size, seed: UInt64(i))
            try await place.put(file: path, as: "etcd-c-\(i).gz") { done, total in
                moved.withLock { $0 = (done, total) }
            }
            if size > 0 { #expect(moved.withLock { $0 } == (Int64(size), Int64(size))) }
            let back = try temporaryDirectory() + "/back"
            try await place.get("etcd-c-\(i).gz", to: back, progress: nil)
            #expect(try runProgram(["cmp", path, back]).status == 0)
            #expect(!FileSystem.exists(back + ".part"))
        }
        let listed = try await place.list()
        #expect(listed.map(\.name) == (0..<4).map { "etcd-c-\($0).gz" })
        #expect(listed.map(\.bytes) == sizes.map(Int64.init))
        let now = WallClock.system.nowMilliseconds()
        for file in listed { #expect(abs(file.modified - now) < 15 * 3_600_000) }
        #expect(try await place.read("etcd-c-2.gz", limit: 70_000).count == 70_000)
        await #expect(throws: (any Error).self) { try await place.read("etcd-c-2.gz", limit: 69_999) }
    }

    @Test(arguments: PlaceKind.there) func aSecondPutReplacesTheFirst(_ kind: PlaceKind) async throws {
        let place = try await kind.make()
        try await place.put(file: try sourceFile(1000, seed: 1), as: "x.json", progress: nil)
        let second = try sourceFile(500, seed: 2)
        try await place.put(file: second, as: "x.json", progress: nil)
        #expect(try await place.read("x.json", limit: 1000) == FileSystem.read(second))
        #expect(try await place.list().map(\.bytes) == [500])
    }

    /// Two sidecars that bring backups of one name: the second is told, and the first's stays, small and in parts.
    @Test(arguments: PlaceKind.there) func aNameIsTakenOnce(_ kind: PlaceKind) async throws {
        let place = try await kind.make()
        for (i, size) in [1000, 12 << 20].enumerated() {
            let first = try sourceFile(size, seed: 1)
            try await place.putNew(file: first, as: "new-\(i)", progress: nil)
            await #expect(throws: BackupError(.busy, "")) {
                try await place.putNew(file: try sourceFile(size, seed: 2), as: "new-\(i)", progress: nil)
            }
            let back = try temporaryDirectory() + "/back"
            try await place.get("new-\(i)", to: back, progress: nil)
            #expect(try runProgram(["cmp", first, back]).status == 0)
        }
        #expect(try await place.list().map(\.name) == ["new-0", "new-1"])
    }

    /// Many at once: exactly one has it, and it is whole. (moto looks and writes in two steps, so S3 is left out.)
    @Test(arguments: PlaceKind.there.filter { [.local, .sftp].contains($0) })
    func ofManyAtOnceOneHasTheName(_ kind: PlaceKind) async throws {
        let place = try await kind.make()
        let files = try (1...4).map { try sourceFile(50_000, seed: UInt64($0)) }
        let won = try await withThrowingTaskGroup(of: String?.self) { group in
            for file in files {
                group.addTask {
                    do { try await place.putNew(file: file, as: "one", progress: nil) } catch let error as BackupError
                        where error.code == .busy
                    {
                        return nil
                    }
                    return file
                }
            }
            return try await group.reduce(into: [String]()) { if let file = $1 { $0.append(file) } }
        }
        #expect(won.count == 1)
        #expect(try await place.read("one", limit: 50_000) == FileSystem.read(try #require(won.first)))
        #expect(try await place.list().count == 1)
    }

    @Test(arguments: PlaceKind.there) func whatIsRemovedIsGone(_ kind: PlaceKind) async throws {
        let place = try await kind.make()
        try await place.remove("never-there")
        for name in ["a", "ab", "b"] { try await place.put(file: try sourceFile(10), as: name, progress: nil) }
        try await place.put(file: try sourceFile(11), as: "a", progress: nil)
        try await place.remove("a")
        #expect(try await place.list().map(\.name) == ["ab", "b"])
        try await place.remove("a")
        await #expect(throws: (any Error).self) { try await place.read("a", limit: 100) }
        await #expect(throws: (any Error).self) {
            try await place.get("a", to: try temporaryDirectory() + "/x", progress: nil)
        }
    }

    @Test(arguments: PlaceKind.there) func namesThatLeaveThePlaceAreRefused(_ kind: PlaceKind) async throws {
        let place = try await kind.make()
        let file = try sourceFile(1)
        for name in ["", "../x", "a/b", ".hidden"] {
            await #expect(throws: BackupError(.invalid, "")) {
                try await place.put(file: file, as: name, progress: nil)
            }
            await #expect(throws: BackupError(.invalid, "")) { try await place.remove(name) }
        }
    }

    /// A put that is cancelled, or whose source ends early, leaves nothing under the final name and nothing beside it.
    @Test(arguments: PlaceKind.there) func anUnfinishedPutLeavesNothing(_ kind: PlaceKind) async throws {
        let place = try await kind.make()
        let path = try sourceFile(24 << 20)
        let begun = Lock(false)
        let cancelled = Lock(false)
        let task = Task {
            try await place.put(file: path, as: "big") { _, _ in
                begun.withLock { $0 = true }
                while !cancelled.withLock({ $0 }) { usleep(1000) }
            }
        }
        while !begun.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(1)) }
        task.cancel()
        cancelled.withLock { $0 = true }
        await #expect(throws: (any Error).self) { try await task.value }
        await #expect(throws: (any Error).self) { try await place.put(file: path + "-none", as: "big", progress: nil) }
        #expect(try await place.list().isEmpty)
        try await place.removeLeftovers(olderThan: .max / 4)
        try await place.put(file: path, as: "big", progress: nil)
        #expect(try await place.list().map(\.bytes) == [24 << 20])
    }

    @Test func aFailingPlaceFails() async throws {
        let behind = try await PlaceKind.local.make()
        let place = FailingDestination(behind, failing: ["put"])
        await #expect(throws: BackupError(.destination, "")) {
            try await place.put(file: try sourceFile(1), as: "x", progress: nil)
        }
        #expect(try await place.list().isEmpty)
    }
}
