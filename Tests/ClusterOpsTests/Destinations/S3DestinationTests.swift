import Platform
import Testing

@testable import ClusterOps

/// Against moto's real server, through a proxy that makes trouble. One at a time: the proxy's faults are shared.
@Suite(.enabled(if: S3Server.isThere, "scripts/test-tools has not been run"), .serialized)
struct S3DestinationTests {
    /// Of this suite alone: the faults are for the whole server.
    private static let own = try? S3Server(checksSignatures: false)

    private func server() throws -> S3Server { try #require(Self.own) }

    @Test(arguments: ["status", "throttle", "cut-request", "lose-answer"])
    func uploadsGetThroughTrouble(_ kind: String) async throws {
        let server = try server()
        let options = try await server.bucket()
        let place = server.destination(options)
        for size in [1 << 20, 12 << 20] {
            let path = try sourceFile(size, seed: UInt64(size))
            try await server.faults([(kind, "PUT", 2), (kind, "POST", 1), (kind, "HEAD", 1)])
            try await place.put(file: path, as: "x", progress: nil)
            #expect(try await place.read("x", limit: size) == FileSystem.read(path))
        }
        // Nothing of the attempts that failed is left to be paid for.
        try await server.faults([])
        let uploads = try await place.xml("uploads", S3Request("GET", query: [("uploads", "")]))
        let open = uploads.all("Upload").count
        #expect(kind == "lose-answer" ? open <= 1 : open == 0)
        try await place.removeLeftovers(olderThan: .max / 4)
        #expect(try await place.xml("uploads", S3Request("GET", query: [("uploads", "")])).all("Upload").isEmpty)
    }

    /// The request is done and its answer is lost: the repetition is refused for the object that is there, which is its own.
    @Test(arguments: [1000, 12 << 20]) func aNameIsKeptThoughTheAnswerWasLost(_ size: Int) async throws {
        let server = try server()
        let options = try await server.bucket()
        let place = server.destination(options)
        let completion = "POST /\(options.bucket)/backups/of%20one/a?uploadId"
        try await server.faults([("lose-answer", size > 5 << 20 ? completion : "PUT", 1)])
        let file = try sourceFile(size)
        try await place.putNew(file: file, as: "a", progress: nil)
        #expect(try await place.list().map(\.bytes) == [Int64(size)])
        await #expect(throws: BackupError(.busy, "")) { try await place.putNew(file: file, as: "a", progress: nil) }
    }

    /// A store that knows no conditional writes is looked at before, and is not asked again.
    @Test func aStoreWithoutConditionsIsLookedAtBefore() async throws {
        let server = try server()
        let place = server.destination(try await server.bucket())
        try await server.faults([("no-conditions", "PUT", 1)])
        let file = try sourceFile(1000)
        try await place.putNew(file: file, as: "a", progress: nil)
        #expect(place.ignoresConditions.withLock { $0 })
        await #expect(throws: BackupError(.busy, "")) { try await place.putNew(file: file, as: "a", progress: nil) }
        #expect(try await server.seen().filter { $0.hasPrefix("PUT") }.count == 2)
    }

    @Test func aCompletionThatFailsLateIsRepeated() async throws {
        let server = try server()
        let options = try await server.bucket()
        let place = server.destination(options)
        let key = "/\(options.bucket)/backups/of%20one/x?uploadId"
        for kind in ["late-error", "lose-answer"] {
            try await server.faults([(kind, "POST " + key, 1)])
            try await place.put(file: try sourceFile(11 << 20), as: "x", progress: nil)
            #expect(try await server.seen().count { $0.hasPrefix("POST " + key) } == 2)
            #expect(try await place.list().map(\.bytes) == [11 << 20])
            try await place.remove("x")
        }
    }

    @Test func aDownloadThatIsCutGoesOnWhereItWas() async throws {
        let server = try server()
        let options = try await server.bucket()
        let place = server.destination(options)
        let path = try sourceFile(9 << 20)
        try await place.put(file: path, as: "x", progress: nil)
        try await server.faults([("cut-answer", "GET", 2), ("status", "GET", 1)])
        let back = try temporaryDirectory() + "/back"
        let first = Lock<[Int64]>([])
        try await place.get("x", to: back) { done, _ in first.withLock { $0.append(done) } }
        #expect(try runProgram(["cmp", path, back]).status == 0)
        let steps = first.withLock { $0 }
        #expect(steps == steps.sorted(), "it began anew")
    }

    @Test func aServerThatStallsIsGivenUp() async throws {
        let server = try server()
        var options = try await server.bucket()
        options.timeout = 1000
        let place = server.destination(options)
        try await server.faults([("stall", "PUT", 1)])
        try await place.put(file: try sourceFile(100), as: "x", progress: nil)
        #expect(try await place.list().map(\.bytes) == [100])
    }

    @Test func troubleThatStaysIsToldOnce() async throws {
        let server = try server()
        let place = server.destination(try await server.bucket())
        try await server.faults([("throttle", "GET", 1000)])
        do {
            _ = try await place.list()
            Issue.record("it listed")
        } catch let error as BackupError {
            #expect(error.code == .destination)
            #expect(error.message.contains("503 SlowDown"))
            #expect(error.message.contains("5 attempts"))
        }
        try await server.faults([])
        var options = place.options
        options.bucket = "not-there"
        do {
            _ = try await server.destination(options).list()
            Issue.record("it listed")
        } catch let error as BackupError {
            #expect(error.message.contains("make the bucket first"))
            #expect(!error.message.contains("attempts"))
        }
    }

    @Test func listingsOfManyPagesAreWhole() async throws {
        let server = try server()
        let options = try await server.bucket()
        let place = server.destination(options, pageSize: 3)
        let file = try sourceFile(5)
        let names = (0..<10).map { "etcd-\($0)" }
        for name in names { try await place.put(file: file, as: name, progress: nil) }
        // Of another prefix, and below this one: not ours.
        var elsewhere = options
        elsewhere.prefix = "backups/of one more"
        try await server.destination(elsewhere).put(file: file, as: "other", progress: nil)
        elsewhere.prefix = "backups/of one/deeper"
        try await server.destination(elsewhere).put(file: file, as: "deep", progress: nil)
        #expect(try await place.list().map(\.name) == names)
    }

    @Test func removalTakesEveryVersionAndNoOthers() async throws {
        let server = try server()
        let options = try await server.bucket()
        try await keepVersions(server, options)
        let place = server.destination(options, pageSize: 2)
        for _ in 0..<5 { try await place.put(file: try sourceFile(5), as: "x", progress: nil) }
        try await place.put(file: try sourceFile(5), as: "x1", progress: nil)
        try await place.remove("x")
        let left = try await place.xml("versions", S3Request("GET", query: [("versions", "")]))
        #expect(left.children.filter { $0.name == "Version" || $0.name == "DeleteMarker" }.count == 1)
    }

    @Test func aLockedObjectIsKeptAndSaid() async throws {
        let server = try server()
        var options = try await server.bucket(headers: [("x-amz-bucket-object-lock-enabled", "true")])
        options.objectLockMode = "COMPLIANCE"
        options.objectLockFor = 86_400_000
        options.serverSideEncryption = "AES256"
        let place = server.destination(options)
        try await place.put(file: try sourceFile(5), as: "x", progress: nil)
        let head = try await place.send("look", S3Request("HEAD", key: "x"))
        #expect(head.header("x-amz-server-side-encryption") == "AES256")
        #expect(head.header("x-amz-object-lock-mode") == "COMPLIANCE")
        await #expect(throws: BackupError(.refused, "")) { try await place.remove("x") }
        #expect(try await place.list().count == 1)
    }

    @Test func signaturesAreRight() async throws {
        let server = try #require(S3Server.checking)
        var options = S3Options()
        options.endpoint = "http://127.0.0.1:\(server.port)"
        options.bucket = "checked"
        options.prefix = "a b/ü+=&"
        options.accessKeyFile = server.accessKeyFile
        options.secretKeyFile = server.secretKeyFile
        options.partSize = 5 << 20
        let place = server.destination(options)
        for (name, size) in [("small", 100), ("big", 11 << 20)] {
            let path = try sourceFile(size)
            try await place.put(file: path, as: name, progress: nil)
            #expect(try await place.read(name, limit: size) == FileSystem.read(path))
        }
        #expect(try await place.list().map(\.name) == ["big", "small"])
        try await place.removeLeftovers(olderThan: .max / 4)
        try await place.remove("big")
        options.secretKeyFile = server.accessKeyFile
        do {
            _ = try await server.destination(options).list()
            Issue.record("a wrong secret was taken")
        } catch let error as BackupError {
            #expect(error.message.contains("does not fit"))
        }
    }

    @Test func documentsAreReadAndNonsenseIsNot() {
        let text =
            "<?xml version=\"1.0\"?><!-- c --><a:R xmlns=\"u\"><K>1 &lt; &#x32;&amp;</K><E/><K><![CDATA[<x>]]></K></a:R>"
        let root = XMLElement.parse(Array(text.utf8))
        #expect(root?.name == "R")
        #expect(root?.all("K").map(\.text) == ["1 < 2&", "<x>"])
        for bad in ["", "<a>", "<a></b>", "</a>", "<a>&x;</a>", "<!DOCTYPE a><a/>", "text", "<>", "<a><b></a></b>"] {
            #expect(XMLElement.parse(Array(bad.utf8)) == nil, "\(bad)")
        }
        #expect(XMLElement.parse(Array(String(repeating: "<a>", count: 100_000).utf8)) == nil)
    }
}
