import Glibc
import Platform
import Testing

private let hasPython = isInstalled("python3")

/// The store under kills and beside a real Prometheus, by the scripts that anyone can run for longer.
@Suite struct StoreToolTests {
    @Test(.enabled(if: hasPython, "python3 must be installed: scripts/deps test"))
    func killsAtRandomMomentsLoseASecondAtMost() async throws {
        // The slack is for machines that are busy with other tests; what is lost otherwise, or twice, or damaged, has none.
        let answer = try await shell(
            "\(root)/scripts/crash-test --binary \(binary) --kills 5 --targets 3 --series 50 --longest 2.5 --slack 10 --seed 7"
        )
        #expect(answer.status == 0, "\(answer.output)")
    }

    /// Old samples are taken or refused by what came before them, which is a race between targets: so by hand, not in every run.
    @Test(.enabled(if: hasPython && getenv("KOPS_RECORDINGS_DIFF") != nil, "set KOPS_RECORDINGS_DIFF to compare"))
    func prometheusAndWeTakeTheSameOfRealExporters() async throws {
        let answer = try await shell("\(root)/scripts/recordings-diff --binary \(binary) --targets 40")
        // 77: there are no recordings beside the project, or no Prometheus.
        #expect([0, 77].contains(answer.status), "\(answer.output)")
    }

    @Test func exportAndImportOnTheCommandLine() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        // A month of one sample a day, written before any sidecar ran.
        var text = "# TYPE a gauge\n"
        for day in 0..<31 { text += "a{b=\"c d\"} \(day).5 \(1_600_000_000 + day * 86_400).25\n" }
        text += "# EOF\n"
        try AtomicFile.write(Array(text.utf8), to: directory + "/in.om")
        let taken = try await shell("\(binary) store import --data-dir \(directory)/data \(directory)/in.om")
        #expect(taken.status == 0 && taken.output == "31 samples over 31 days\n", "\(taken.output)")
        let given = try await shell("\(binary) store export --data-dir \(directory)/data --output \(directory)/out.om")
        #expect(given.status == 0, "\(given.output)")
        let lines = text.split(separator: "\n").filter { !$0.hasPrefix("# TYPE") }
        let out = try FileSystem.readText(directory + "/out.om")
        #expect(out.split(separator: "\n").elementsEqual(lines))
        let some = try await shell(
            "\(binary) store export --data-dir \(directory)/data --match '{b=\"c d\"}' --from 1600086400 --to 1600086401"
        )
        #expect(some.output == "a{b=\"c d\"} 1.5 1600086400.25\n# EOF\n", "\(some.output)")
        let asked = try await shell("\(binary) query 'sum(a) * 2' --at 1600086401 --data-dir \(directory)/data")
        #expect(asked.status == 0 && asked.output.hasSuffix("  3\n"), "\(asked.output)")
        let unread = try await shell("\(binary) query 'sum(' --data-dir \(directory)/data")
        #expect(unread.status == 1 && unread.output.contains("1:5: parse error"), "\(unread.output)")
        let bad = try await shell("echo 'a 1' | \(binary) store import --data-dir \(directory)/other -")
        #expect(bad.status == 1 && bad.output.contains("line 1: the sample has no timestamp"), "\(bad.output)")
        let wrong = try await shell("\(binary) store export --data-dir \(directory)/data --match '{'")
        #expect(wrong.status == 2, "\(wrong.output)")
        #expect(try await shell("\(binary) store check --data-dir \(directory)/data").status == 0)
    }
}
