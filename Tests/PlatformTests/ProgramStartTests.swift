import Glibc
import Platform
import TestSupport
import Testing

@Suite struct ProgramStartTests {
    /// What a child had besides would outlive us in it: a port, a lock, the end of a pipe somebody waits for.
    @Test func aChildHasNothingOfOursButWhatItWasGiven() throws {
        // Inherited by every child that is not kept from it.
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        let given = open("/dev/null", O_RDONLY | O_CLOEXEC)
        defer { for fd in ends + [given] { close(fd) } }
        let numbers = ([3] + ends + [given]).map { String($0) }
        let script = "for fd in \(numbers.joined(separator: " ")); do [ -e /proc/$$/fd/$fd ] && echo $fd; done; true"
        #expect(try ChildProgram.run("sh", ["-c", script]).output == "")
        #expect(try ChildProgram.run("sh", ["-c", script], inherit: given).output == "3\n")
    }

    @Test func environmentStatusAndStreamsAreAsAsked() throws {
        let script = "echo $ODD; echo wrong >&2; exit 7"
        let both = try ChildProgram.run("sh", ["-c", script], environment: ["ODD": "a b"])
        #expect(both.status == 7 && both.output == "a b\nwrong\n")
        let out = try ChildProgram.run("sh", ["-c", script], environment: ["ODD": ""], errors: .null)
        #expect(out.status == 7 && out.output == "\n")
        #expect(try ChildProgram.run("sh", ["-c", "kill -TERM $$"]).status == 128 + SIGTERM)
        #expect(throws: FileError("start", "/no/such/program", ENOENT)) {
            try ChildProgram.run("/no/such/program", [])
        }
        #expect(try ChildProgram.run("sleep", ["300"], timeout: .milliseconds(100)).timedOut)
    }

    @Test func portsAreFreeAndHandedOutOnce() throws {
        let ports = try (0..<200).map { _ in try LoopbackPorts.free() }
        #expect(Set(ports).count == 200)
        #expect(ports.allSatisfy { (15_000..<30_000).contains($0) })
    }
}
