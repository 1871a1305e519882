import Glibc
import PromQL
import Testing

private func read(_ path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
        let n = fread(&buffer, 1, buffer.count, file)
        if n <= 0 { return String(decoding: bytes, as: UTF8.self) }
        bytes += buffer[..<n]
    }
}

private func scripts(in directory: String) -> [String] {
    guard let handle = opendir(directory) else { return [] }
    defer { closedir(handle) }
    var out: [String] = []
    while let entry = readdir(handle) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name.hasSuffix(".test") { out.append(directory + "/" + name) }
    }
    return out.sorted()
}

private let packageRoot = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()

@Suite struct ScriptTests {
    @Test(arguments: scripts(in: packageRoot + "/Tests/PromQLScripts"))
    func ownScriptPasses(path: String) throws {
        let text = try #require(read(path))
        let outcome = PromQLScript.run(file: path, text: text)
        #expect(outcome.failures.isEmpty, "\(outcome.failures.map(\.description).joined(separator: "\n"))")
        #expect(outcome.passed > 0)
    }

    /// Prometheus' own scripts, where they lie beside the package.
    @Test func prometheusScriptsPass() throws {
        let directory = packageRoot + "/../shared/conformance/promql"
        let found = scripts(in: directory)
        if found.isEmpty { print("skipped: there are no scripts in \(directory)") }
        for path in found {
            let outcome = PromQLScript.run(file: path, text: try #require(read(path)))
            #expect(outcome.failures.isEmpty, "\(outcome.failures.map(\.description).joined(separator: "\n"))")
        }
    }

    /// Each of these says something wrong, and only the runner can tell.
    @Test(arguments: [
        "eval instant at 5m m\n  m{a=\"b\"} 2\n  m{a=\"c\"} 4", "eval instant at 5m m\n  m{a=\"b\"} 2",
        "eval instant at 5m sum(m)\n  expect warn\n  {} 5", "eval range from 0 to 10m step 5m sum(m)\n  {} 2 5 9",
        "eval instant at 5m m\n  expect fail", "eval instant at 5m sum(m\n  {} 5", "eval instant at 5m 1+1\n  3",
        "eval instant at 5m rate(m[10m])\n  expect no_info\n  {a=\"b\"} 0.0033333333\n  {a=\"c\"} 0.0066666667",
        "eval instant at 5m m\n  expect fail msg: no", "eval instant at 5m \"x\"\n  expect string \"y\"",
        "eval instant at 5m topk(2, m)\n  expect ordered\n  m{a=\"b\"} 2\n  m{a=\"c\"} 3",
        "eval instant at 5m m{x=\"y\"}\n  m 1", "load 5x\n  m 1", "sing", "eval instant m", "load 5m\n  m{ 1",
    ])
    func wrongExpectationFails(command: String) {
        let text = "load 5m\n  m{a=\"b\"} 1+1x10\n  m{a=\"c\"} 1+2x10\n\n" + command + "\n"
        let outcome = PromQLScript.run(file: "wrong.test", text: text)
        #expect(outcome.failures.count == 1, "\(outcome.failures)")
        #expect(outcome.failures.first?.line ?? 0 >= 5)
    }
}
