import Glibc
import Platform

/// A stand-in for kube-apiserver (kube_api_standin.py, in whose head its manners are described): not Kubernetes, but
/// answering as recorded servers do. Ends with this value.
package final class KubeAPIStandIn: Sendable {
    package let port: Int
    package let url: String
    private let pid: pid_t
    private let input: Int32
    private let hasEnded = Lock(false)
    private let http = HTTPClient(name: "standin")

    package static var isPossible: Bool { FileSystem.exists("/usr/bin/python3") }

    /// `arguments` as the script takes them, such as `["--kubernetes", "1.20"]`.
    package init(_ arguments: [String] = []) throws {
        let script = FileSystem.resolve("kube_api_standin.py", in: FileSystem.parent(of: #filePath))
        let (toChild, fromChild) = (try makePipe(), try makePipe())
        // The script ends when the last holder of its input does.
        var start = ProgramStart(["/usr/bin/python3", script] + arguments)
        start.input = toChild.reading
        start.output = .descriptor(fromChild.writing)
        start.errors = .descriptor(2)
        let child = try start.start()
        close(toChild.reading)
        close(fromChild.writing)
        defer { close(fromChild.reading) }
        pid = child
        input = toChild.writing
        var line: [UInt8] = []
        var byte: UInt8 = 0
        while read(fromChild.reading, &byte, 1) == 1, byte != 10 { line.append(byte) }
        let words = String(decoding: line, as: UTF8.self).split(separator: " ")
        guard words.count == 2, words[0] == "listening", let port = Int(words[1]) else {
            close(input)
            kill(child, SIGKILL)
            waitpid(child, nil, 0)
            throw TestFailure("the stand-in did not start: \(words.joined(separator: " "))")
        }
        self.port = port
        url = (arguments.contains("--cert") ? "https" : "http") + "://127.0.0.1:\(port)"
    }

    deinit { stop() }

    /// The server is gone, as after a crash.
    package func stop() {
        // Once: a descriptor closed twice may be somebody else's by then.
        let isFirst = hasEnded.withLock { ended in
            defer { ended = true }
            return !ended
        }
        guard isFirst else { return }
        if kill(pid, SIGKILL) == 0 { waitpid(pid, nil, 0) }
        close(input)
    }

    /// One of the script's own requests: `objects`, `fail`, `route`, `outage`, `compact`, `drop`, `requests`.
    @discardableResult
    package func control(_ what: String, _ json: String? = nil) async throws -> String {
        var request = HTTPRequest(json == nil && what == "requests" ? "GET" : "POST", "\(url)/standin/\(what)")
        request.tls.insecureSkipVerify = true
        if let json { request.body = Array(json.utf8) }
        let response = try await http.send(request)
        guard response.status == 200 else {
            throw TestFailure("standin/\(what): \(response.status) \(response.bodyText)")
        }
        return response.bodyText
    }

    /// Puts objects as they are: JSON of one, or of a list of them.
    package func put(_ json: String) async throws { try await control("objects", json) }
}

package struct TestFailure: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// Waits until something holds; throws what did not after `seconds`. It is looked at a fair number of times whatever the clock
/// says: on a machine that is busy this task may not run for long.
package func eventually(
    _ what: @autoclosure () -> String, seconds: Double = 120, _ holds: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + .milliseconds(Int(seconds * 1000))
    var looks = 0
    while looks < 50 || ContinuousClock.now < deadline {
        if try await holds() { return }
        looks += 1
        try await Task.sleep(for: .milliseconds(looks < 50 ? 20 : 100))
    }
    throw TestFailure("waited \(seconds) s in vain: \(what())")
}

/// A directory of the test's own. It goes with the tests at the latest, whether or not the test removes it: a full disk would
/// stop them all.
package func scratchDirectory() throws -> String {
    var template = Array("/tmp/kops-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw TestFailure("cannot make a directory in /tmp") }
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let isFirst = scratchDirectories.withLock { made in
        made.append(path)
        return made.count == 1
    }
    if isFirst {
        atexit { for path in scratchDirectories.withLock({ $0 }) { try? FileSystem.removeTree(path) } }
    }
    return path
}

private let scratchDirectories = Lock<[String]>([])

/// The recordings of real servers beside this repository; nil where they are not there.
package func recording(_ path: String) -> [UInt8]? {
    var directory = FileSystem.parent(of: #filePath)
    for _ in 0..<4 {
        directory = FileSystem.parent(of: directory)
        if let bytes = try? FileSystem.read(directory + "/shared/recordings/" + path) { return bytes }
    }
    return nil
}
