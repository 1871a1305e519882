import Glibc
import Testing

@testable import Platform

@Suite struct FileSystemTests {
    private func scratch() throws -> String {
        let path =
            "\(getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp")/kops-fs-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        try FileSystem.makeDirectories(path)
        return path
    }

    @Test func writesWholeOrNotAtAll() throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let path = directory + "/f"
        try AtomicFile.write([1, 2, 3], to: path, mode: 0o600)
        #expect(try FileSystem.read(path) == [1, 2, 3])
        #expect(try FileSystem.status(path)?.mode == S_IFREG | 0o600)
        #expect(try FileSystem.list(directory) == ["f"])
        #expect(throws: FileError.self) { try AtomicFile.write([1], to: directory + "/none/f") }
    }

    @Test func readRefusesWhatIsTooLarge() throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        try AtomicFile.write(Array(repeating: 7, count: 1000), to: directory + "/f")
        #expect(throws: FileError("read", directory + "/f", EFBIG)) {
            try FileSystem.read(directory + "/f", maxBytes: 999)
        }
    }

    @Test func parentsAndNames() {
        #expect(FileSystem.parent(of: "/a/b/") == "/a")
        #expect(FileSystem.parent(of: "/a") == "/")
        #expect(FileSystem.parent(of: "a") == ".")
        #expect(FileSystem.name(of: "/a/b/") == "b")
    }

    @Test func gzipRoundTripAndDamage() throws {
        let text = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let packed = try Gzip.compress(text)
        #expect(try Gzip.decompress(packed, limit: 10_000) == text)
        #expect(throws: CompressionError.self) { try Gzip.decompress(packed, limit: 9999) }
        #expect(throws: CompressionError.self) { try Gzip.decompress(Array(packed.dropLast(9)), limit: 20_000) }
    }
}
