import Platform

/// Steps that have to do with the other members.
extension RestoreExecutor {
    /// Opened with the first of these steps.
    mutating func others() throws -> RemoteRestore {
        if let remote { return remote }
        guard let members = record.remote else { throw BackupError(.invalid, "no other members are to be restored") }
        let made = try RemoteRestore(
            members, record: record, surroundings: surroundings, tell: tell ?? { _ in })
        remote = made
        return made
    }

    mutating func prepareOthers() async throws {
        let others = try others()
        do { try await others.prepare() } catch {
            await others.tidy()
            await others.close()
            throw error
        }
    }

    /// What failed is told at once, and counts at the end: this node does its own part first.
    mutating func awaitOthers() async throws {
        for outcome in try await others().finish() {
            if let problem = outcome.problem { tell?("\(outcome.host.name): \(problem)") }
        }
    }

    mutating func judgeOthers() async throws -> [String] {
        let others = try others()
        var problems: [String] = []
        var notes: [String] = []
        for outcome in await others.finish() {
            guard let problem = outcome.problem else {
                notes.append("\(outcome.host.title) is restored too")
                continue
            }
            let command = await others.byHand(outcome.host)
            problems.append("\(problem); by hand on \(outcome.host.name): \(command)")
        }
        guard problems.isEmpty else {
            throw BackupError(
                .failed,
                "this node is restored, others are not: \(problems.joined(separator: "; ")). --resume here tries them again"
            )
        }
        await others.tidy()
        await others.close()
        return notes
    }

    /// A step failed here: what runs on other nodes is let run to its end, and what became of it is told.
    mutating func leaveOthers() async {
        guard let remote, record.steps.prefix(journal.done).contains(where: { $0.action == .beginOthers }) else {
            return
        }
        tell?("a step failed here; the other nodes go on to their end")
        for outcome in await remote.finish() {
            tell?("\(outcome.host.name): \(outcome.problem ?? "restored")")
        }
    }
}
