import Platform
import Testing

/// How the program refuses what it cannot do: one line that says what is wrong, and the exit status that goes with it.
@Suite struct CommandLineTests {
    @Test(arguments: [
        ("query", 2, "Missing expected argument '<expression>'; see 'kops-sidecar query --help'"),
        ("query up -o xml", 2, "The value 'xml' is invalid for '-o <output>'."),
        ("nope", 2, "Unexpected argument 'nope'"),
        ("run --nope", 2, "Unknown option '--nope'; see 'kops-sidecar run --help'"),
        ("query up --url ftp://127.0.0.1:1", 2, "--url must begin with http:// or https://, not \"ftp://127.0.0.1:1\""),
        ("alerts 'x{' --url http://127.0.0.1:1", 2, "bad matcher x{"),
        ("alerts --url http://127.0.0.1:1", 1, "http://127.0.0.1:1 does not answer: Failed to connect"),
        ("backup verify --from .", 1, "no good backup is in ."),
        ("restore --from /nowhere --data-dir /nowhere/etcd --initial-cluster a=b", 1, "no good backup is in /nowhere"),
        ("backup verify nowhere.gz", 2, "there is no file nowhere.gz, and "),
        ("store check --data-dir /usr/share", 2, "/usr/share holds no time series"),
        ("query up --data-dir /usr/share", 2, "/usr/share holds no time series"),
        ("run --config /nowhere.yaml", 2, "there is no configuration file /nowhere.yaml"),
    ])
    func aMistakeIsOneLine(arguments: String, status: Int, line: String) async throws {
        let answer = try await shell("\(binary) \(arguments) 2>&1")
        #expect(answer.status == status)
        #expect(answer.output.hasPrefix(line), "\(answer.output)")
        #expect(answer.output.filter(\.isNewline).count == 1, "\(answer.output)")
    }

    /// Waits for input that never comes until it is told to end.
    @Test(arguments: ["TERM", "INT"])
    func whatIsInterruptedSaysSo(signal: String) async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        // Of bash's own children in the background only those of a job-controlling shell take SIGINT.
        let answer = try await shell(
            """
            set -m; mkfifo \(directory)/in; exec 3<> \(directory)/in
            \(binary) check metrics <&3 & pid=$!
            until grep -q 'SigCgt:.*4..[2367abef]$' /proc/$pid/status; do sleep 0.05; done
            kill -\(signal) $pid; wait $pid
            """)
        #expect(answer.status == 130)
        #expect(answer.output.contains("interrupted"))
    }
}
