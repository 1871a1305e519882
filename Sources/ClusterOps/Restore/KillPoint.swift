#if DEBUG
    import Glibc
    import Platform

    /// Where a restore kills itself, for `scripts/lab-check-restore`: no kill from outside hits every step. Debug builds only.
    enum KillPoint {
        /// `KOPS_RESTORE_KILL=N`: SIGKILL at the Nth place that this process comes to. Each step has two, one before it and one
        /// behind it that is not written down yet.
        static func fromEnvironment() -> (@Sendable (RestoreStep, Bool) throws -> Void)? {
            guard let text = getenv("KOPS_RESTORE_KILL"), let wanted = Int(String(cString: text)) else { return nil }
            let seen = Lock(0)
            return { _, _ in
                let number = seen.withLock {
                    $0 += 1
                    return $0
                }
                if number == wanted { kill(getpid(), SIGKILL) }
            }
        }
    }
#endif
