import ClusterOps
import Glibc
import MetricModel
import Platform

/// Progress of long work on standard error: a bar with rate and time left on a terminal, else one line per 10 %.
final class ProgressLine: Sendable {
    private struct State {
        var subject = ""
        var began: Int64 = 0
        var lastDrawn: Int64 = 0
        var lastTenth = -1
        var isDrawn = false
    }

    private let state = Lock(State())
    private let terminal = standardErrorIsTerminal

    var handler: BackupProgressHandler { { [self] in take($0) } }

    private func take(_ progress: BackupProgress) {
        state.withLock { state in
            let now = monotonicNanoseconds()
            let subject = "\(progress.phase.rawValue) \(FileSystem.name(of: progress.subject))"
            if state.subject != subject {
                if terminal, state.isDrawn { write("\n") }
                state = State(subject: subject, began: now)
            }
            let share = progress.total > 0 ? min(1, Double(progress.done) / Double(progress.total)) : 0
            if !terminal {
                // Short work needs no lines.
                let tenth = Int(share * 10)
                guard progress.total > 0, tenth > state.lastTenth, now - state.began > 2_000_000_000 else { return }
                state.lastTenth = tenth
                write("\(subject): \(tenth * 10) % of \(sizeText(progress.total))\n")
                return
            }
            guard now - state.lastDrawn > 100_000_000 else { return }
            state.lastDrawn = now
            state.isDrawn = true
            let seconds = max(0.001, Double(now - state.began) / 1e9)
            let rate = Double(progress.done) / seconds
            let filled = Int(share * 30)
            var line = "\r\u{1B}[K\(subject) [" + String(repeating: "#", count: filled)
            line +=
                String(repeating: ".", count: 30 - filled) + "] \(sizeText(progress.done)), \(sizeText(Int64(rate)))/s"
            if progress.total > 0, rate > 0 {
                let left = Int64(Double(progress.total - progress.done) / rate) * 1000
                line += ", \(formatDuration(max(0, left))) left"
            }
            write(line)
        }
    }

    /// Ends a drawn bar's line.
    func finish() {
        state.withLock { state in
            if terminal, state.isDrawn { write("\r\u{1B}[K") }
            state.isDrawn = false
        }
    }

    private func write(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}
