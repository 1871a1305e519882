/// How often and how fast what failed on its way is tried again: after pauses that double, with a third of chance in them so
/// that several clients do not come back at once.
package struct TransferRetry: Sendable {
    package var attempts = 8
    package var firstPause: Duration = .milliseconds(250)
    package var longestPause: Duration = .seconds(20)

    package init() {}

    /// Before the attempt `number`, counted from 1 for the first repetition.
    func pause(_ number: Int) -> Duration {
        let doubled = firstPause * (1 << min(number - 1, 16))
        return min(longestPause, doubled) * Double.random(in: 0.67...1.33)
    }

    /// Runs `body` until it gives a value. `body` returns the error and whether another attempt may help.
    func run<T: Sendable>(
        _ body: () async throws -> Result<T, TransferFailure>
    ) async throws -> T {
        var number = 1
        while true {
            switch try await body() {
            case .success(let value): return value
            case .failure(let failure):
                guard failure.mayHelpAgain, number < max(1, attempts) else {
                    let tries = number > 1 ? " (\(number) attempts)" : ""
                    throw BackupError(failure.error.code, failure.error.message + tries)
                }
                try await pauseOrCancel(failure.after ?? pause(number))
                number += 1
            }
        }
    }

    private func pauseOrCancel(_ time: Duration) async throws {
        do {
            try await Task.sleep(for: min(time, max(longestPause, .milliseconds(1))))
        } catch {
            throw BackupError(.cancelled, "cancelled between two attempts")
        }
    }
}

struct TransferFailure: Error {
    var error: BackupError
    var mayHelpAgain: Bool
    /// The server's own wish (Retry-After).
    var after: Duration?
}
