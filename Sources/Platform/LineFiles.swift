import Glibc

/// Files that lines are added to, such as a log of queries: written by a thread of its own, so that whoever adds a line never
/// waits for a disk. Lines beyond the bound, and those that cannot be written, are lost and counted. Thread-safe.
package final class LineFiles: Sendable {
    /// Bytes that may wait to be written, of all files.
    private static let maxWaiting = 16 << 20

    private final class OpenFile: Sendable {
        let descriptor: Int32
        init(_ descriptor: Int32) { self.descriptor = descriptor }
        deinit { close(descriptor) }
    }

    private struct State {
        var files: [String: OpenFile] = [:]
        var waiting = 0
    }

    private let state = Lock(State())
    private let lost: Counter
    private let writer = WorkerPool(name: "kops-lines", threads: 1, queueLimit: 100_000)

    package init(_ metrics: MetricRegistry) {
        lost = metrics.counter(
            "kops_log_file_lines_lost_total", "Lines of log files that could not be written, or not soon enough.")
        lost.add(0)
    }

    deinit { writer.stop() }

    /// Opens these files, which are made where they are missing, and closes all others. A file that is open already is opened
    /// anew, for somebody may have moved it away. Throws, and changes nothing, where one cannot be opened.
    package func apply(_ paths: Set<String>) throws(FileError) {
        var files: [String: OpenFile] = [:]
        for path in paths {
            let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o640)
            guard descriptor >= 0 else { throw FileError("write", path) }
            files[path] = OpenFile(descriptor)
        }
        state.withLock { $0.files = files }
    }

    package func isOpen(_ path: String) -> Bool { state.withLock { $0.files[path] != nil } }

    /// Adds a line, to which the line's end is added here, to a file that is open; to others nothing.
    package func add(_ line: [UInt8], to path: String) {
        let file = state.withLock { state -> OpenFile? in
            guard let file = state.files[path] else { return nil }
            guard state.waiting + line.count <= Self.maxWaiting else {
                lost.add()
                return nil
            }
            state.waiting += line.count
            return file
        }
        guard let file else { return }
        let isTaken = writer.submit { [self] in
            // One write, so that lines of several programs do not mix.
            let bytes = line + [UInt8(ascii: "\n")]
            let written = bytes.withUnsafeBytes { write(file.descriptor, $0.baseAddress, $0.count) }
            if written != bytes.count { lost.add() }
            state.withLock { $0.waiting -= line.count }
        }
        if !isTaken {
            lost.add()
            state.withLock { $0.waiting -= line.count }
        }
    }

    /// Waits until what was added so far is written.
    package func flush() async { try? await writer.run {} }
}
