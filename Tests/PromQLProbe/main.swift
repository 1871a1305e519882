import Glibc
import MetricModel
import PromQL

// promql-probe script FILE…   runs test scripts
// promql-probe parse EXPR…    prints expressions as format_query would
var arguments = CommandLine.arguments.dropFirst()
func read(_ path: String) -> String {
    guard let file = fopen(path, "r") else { return "" }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
        let n = fread(&buffer, 1, buffer.count, file)
        if n <= 0 { break }
        bytes += buffer[..<n]
    }
    return String(decoding: bytes, as: UTF8.self)
}
switch arguments.popFirst() {
case "script":
    for path in arguments {
        let outcome = PromQLScript.run(file: path.split(separator: "/").last.map(String.init) ?? path, text: read(path))
        for failure in outcome.failures { print(failure) }
        print("\(path): \(outcome.passed) passed, \(outcome.failures.count) failed")
    }
case "parse":
    for text in arguments {
        do { print(try parseExpression(text, features: .all).pretty()) } catch { print(error) }
    }
default: print("usage: promql-probe script FILE… | parse EXPR…")
}
