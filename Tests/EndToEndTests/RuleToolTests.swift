import Platform
import Testing

/// `check rules` and `test rules` beside promtool: the same verdict and exit status for every case. Without promtool the
/// verdicts that it gave are what is compared with.
@Suite struct RuleToolTests {
    private static let folder = root + "/Tests/EndToEndTests"

    @Test func ruleFilesGetPromtoolsVerdict() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        var cases: [(name: String, verdict: String, text: String)] = []
        for line in try FileSystem.readText(Self.folder + "/rule-files.txt").split(separator: "\n") {
            let words = line.split(separator: " ")
            if line.hasPrefix("=== "), words.count == 3 {
                cases.append((String(words[2]), String(words[1]), ""))
            } else if !cases.isEmpty {
                cases[cases.count - 1].text += line + "\n"
            }
        }
        #expect(cases.count > 40)
        for one in cases { try AtomicFile.write(Array(one.text.utf8), to: "\(directory)/\(one.name).yaml") }
        func files(_ verdicts: String...) -> String {
            cases.filter { verdicts.contains($0.verdict) }.map { "\(directory)/\($0.name).yaml" }.joined(separator: " ")
        }
        func statuses(_ program: String, _ files: String) async throws -> [Substring] {
            try await shell("for f in \(files); do \(program) check rules $f > /dev/null 2>&1; echo $? $f; done").output
                .split(separator: "\n")
        }
        let good = try await shell("\(binary) check rules \(files("good", "newer"))")
        #expect(good.status == 0, "\(good.output)")
        for line in try await statuses(binary, files("bad")) { #expect(line.hasPrefix("1 "), "\(line)") }
        guard isInstalled("promtool") else { return }
        for (program, verdict, status) in [("promtool", "good", "0 "), ("promtool", "bad", "1 ")] {
            for line in try await statuses(program, files(verdict)) { #expect(line.hasPrefix(status), "\(line)") }
        }
    }

    @Test func everyProblemOfARuleFileIsPrinted() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let text = """
            groups:
              - name: a
                rules:
                  - {record: 'a-b', expr: 'sum('}
                  - {alert: X, expr: up, fro: 5m, annotations: {s: '{{ $nope }}'}}
              - name: a
            """
        try AtomicFile.write(Array(text.utf8), to: directory + "/bad.yaml")
        let answer = try await shell("\(binary) check rules \(directory)/bad.yaml")
        #expect(answer.status == 1)
        for part in ["a-b", "unclosed left parenthesis", "did you mean for?", "undefined variable \"$nope\"", "twice"] {
            #expect(answer.output.contains(part), "\(part) in \(answer.output)")
        }
    }

    @Test func aRuleThatIsThereTwiceIsFoundInOtherGroupsToo() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let text = """
            groups:
            - {name: a, rules: [{record: x, expr: up, labels: {l: '1'}}, {record: x, expr: up, labels: {l: '2'}}]}
            - {name: b, rules: [{record: x, expr: up, labels: {l: '1'}}]}
            - {name: c, labels: {l: '2'}, rules: [{record: x, expr: up}, {record: y, expr: up}, {record: y, expr: up}]}
            """
        try AtomicFile.write(Array(text.utf8), to: directory + "/twice.yaml")
        let answer = try await shell("\(binary) check rules \(directory)/twice.yaml")
        #expect(answer.status == 0)
        for part in [
            "group \"b\" has rule \"x\" with the same labels as group \"a\"",
            "group \"c\" has rule \"x\" with the same labels as group \"a\"",
            "group \"c\" has rule \"y\" twice with the same labels",
        ] {
            #expect(answer.output.contains(part), "\(part) in \(answer.output)")
        }
    }

    @Test func ruleTestsGetPromtoolsVerdict() async throws {
        let cases = FileSystem.glob(Self.folder + "/rule-cases/*.yaml")
            .filter { FileSystem.name(of: $0).hasPrefix("good-") || FileSystem.name(of: $0).hasPrefix("bad-") }
        #expect(cases.count > 50)
        // What must pass passes together; what must fail fails alone.
        let good = cases.filter { FileSystem.name(of: $0).hasPrefix("good-") }
        let bad = cases.filter { FileSystem.name(of: $0).hasPrefix("bad-") }
        for program in [binary] + (isInstalled("promtool") ? ["promtool"] : []) {
            let passed = try await shell(
                "cd \(Self.folder)/rule-cases; \(program) test rules \(good.joined(separator: " "))")
            #expect(passed.status == 0, "\(program): \(passed.output)")
            let failed = try await shell(
                "cd \(Self.folder)/rule-cases; for f in \(bad.joined(separator: " ")); do \(program) test rules $f > /dev/null 2>&1; echo $? $f; done"
            )
            for line in failed.output.split(separator: "\n") { #expect(line.hasPrefix("1 "), "\(program): \(line)") }
        }
    }
}
