import ArgumentParser
import ClusterOps
import FoundationEssentials
import Glibc
import KopsSidecar
import Platform

/// What a command that changes something says of itself to the audit trail. Thread-safe.
final class CommandNote: Sendable {
    private struct State {
        var subject = ""
        var detail = ""
        var directory: String?
    }

    private let state = Lock(State())
    private let action: String

    /// Without an action it is a dry run, and nothing is written down.
    init(_ action: String = "") { self.action = action }

    /// What it was done to: a backup's name, a version, a directory.
    var subject: String {
        get { state.withLock { $0.subject } }
        set { state.withLock { $0.subject = newValue } }
    }
    /// What came of it. Where the command fails its error takes this place.
    var detail: String {
        get { state.withLock { $0.detail } }
        set { state.withLock { $0.detail = newValue } }
    }
    /// The data directory in which the trail lies; nil: the installed sidecar's.
    var directory: String? {
        get { state.withLock { $0.directory } }
        set { state.withLock { $0.directory = newValue } }
    }

    /// Long work may be killed, so that it begins is written down as well, as soon as the directory is known.
    func begins() async { await write(succeeded: true, detail: "begun") }

    fileprivate func write(succeeded: Bool, detail: String) async {
        guard !action.isEmpty, let directory = directory ?? installedDataDirectory() else { return }
        let entry = AuditEntry(
            time: WallClock.system.nowMilliseconds(), actor: "command line (\(operatorName()))", action: action,
            subject: subject, succeeded: succeeded, detail: detail)
        do {
            try await WorkerPool.blocking.run { try AuditTrail.append(entry, toTrailIn: directory) }
        } catch {
            printError("note: the audit trail in \(directory) could not be written: \(error)")
        }
    }
}

/// Runs the work of a command that changes something, and writes who ran it and what came of it into the audit trail of the
/// sidecar whose data directory it is, the service running or not. What cannot be noted is said on standard error and is no
/// failure.
func audited<R>(_ action: String, subject: String = "", _ body: (CommandNote) async throws -> R) async throws -> R {
    let note = CommandNote(action)
    note.subject = subject
    do {
        let result = try await body(note)
        await note.write(succeeded: true, detail: note.detail)
        return result
    } catch let failure as CommandFailure {
        await note.write(succeeded: false, detail: failure.lines.joined(separator: "; "))
        throw failure
    } catch {
        await note.write(succeeded: false, detail: "\(error)")
        throw error
    }
}

/// The data directory of the sidecar that is installed on this machine; nil where there is none. A configuration that cannot
/// be read names none: the command that needs it says so.
private func installedDataDirectory() -> String? {
    if FileSystem.exists(defaultConfigurationPath), let config = try? SidecarConfig.load(defaultConfigurationPath) {
        return config.storage.path
    }
    return FileSystem.exists(defaultDataDirectory) ? defaultDataDirectory : nil
}

let defaultDataDirectory = "/var/lib/kops-sidecar"

/// Who sits at this command: the user that logged in, and as whom the command runs where that is another, as `alice as root`.
func operatorName() -> String {
    let acting = userName(geteuid())
    let environment = ProcessInfo.processInfo.environment
    let login = (try? FileSystem.readText("/proc/self/loginuid", maxBytes: 64)).flatMap { text in
        UInt32(text.filter(\.isNumber)).flatMap { $0 == .max ? nil : userName($0) }
    }
    let people = [login, environment["SUDO_USER"]].compactMap { $0 }.filter { !$0.isEmpty && $0 != acting }
    guard let first = people.first else { return acting }
    let second = people.last.flatMap { $0 == first ? nil : " through \($0)" } ?? ""
    return "\(first) as \(acting)\(second)"
}

private func userName(_ id: uid_t) -> String {
    getpwuid(id).map { String(cString: $0.pointee.pw_name) } ?? String(id)
}
