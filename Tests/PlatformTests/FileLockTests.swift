import Glibc
import Platform
import Testing

@Suite struct FileLockTests {
    private func scratch() throws -> String {
        let path = "/tmp/kops-lock-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        try FileSystem.makeDirectories(path)
        return path
    }

    @Test func isHeldUntilItIsLetGo() throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let path = directory + "/lock"
        var held = try FileLock(path)
        #expect(held != nil)
        #expect(try FileLock(path) == nil)
        held = nil
        #expect(try FileLock(path) != nil)
    }

    /// A child that is just being started has it too, until it runs its program.
    @Test func whatWasLetGoIsFreeWhateverChildrenHaveOfIt() throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let path = directory + "/lock"
        var held = try FileLock(path)
        var start = ProgramStart(["sleep", "300"])
        start.inherit = held?.descriptor
        let child = try start.start()
        defer {
            kill(child, SIGKILL)
            waitpid(child, nil, 0)
        }
        #expect(try FileLock(path) == nil)
        held = nil
        #expect(try FileLock(path) != nil)
    }

    /// A refused lock closes its descriptor once: closed twice, it would take away a file that another thread opens meanwhile.
    @Test func aRefusalLeavesTheFilesOfOthersAlone() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let path = directory + "/lock"
        let held = try FileLock(path)
        #expect(held != nil)
        let others = Task.detached { () -> Int in
            var lost = 0
            for _ in 0..<20_000 {
                let file = open("/dev/null", O_RDONLY | O_CLOEXEC)
                sched_yield()
                if close(file) != 0 { lost += 1 }
            }
            return lost
        }
        var refused = 0
        for _ in 0..<20_000 where try FileLock(path) == nil { refused += 1 }
        #expect(refused == 20_000)
        #expect(await others.value == 0)
        withExtendedLifetime(held) {}
    }

    @Test func whatCannotBeOpenedIsTold() throws {
        #expect(throws: FileError.self) { try FileLock("/nowhere/at/all") }
    }
}
