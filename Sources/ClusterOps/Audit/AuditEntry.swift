/// One thing that was done, by whom, and what came of it.
package struct AuditEntry: Sendable, Hashable {
    /// Grows with each entry; 0 before it is kept.
    package var id: Int64 = 0
    /// Milliseconds since 1970 UTC.
    package var time: Int64
    /// `schedule`, `signal`, `api`, a user's name, `command line`.
    package var actor: String
    /// `backup`, `certificates`, `reload`, `POST /api/v2/silences` and so on.
    package var action: String
    package var subject: String
    package var succeeded: Bool
    package var detail: String

    package init(
        time: Int64, actor: String, action: String, subject: String = "", succeeded: Bool, detail: String = ""
    ) {
        self.time = time
        self.actor = String(actor.prefix(200))
        self.action = String(action.prefix(200))
        self.subject = String(subject.prefix(500))
        self.succeeded = succeeded
        self.detail = String(detail.prefix(4000))
    }
}
