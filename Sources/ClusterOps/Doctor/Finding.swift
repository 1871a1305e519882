/// Something that is not as it should be, with what shows it and what to do.
package struct Finding: Sendable, Hashable, Codable {
    package enum Severity: String, Sendable, Codable, CaseIterable, Comparable {
        /// Worth knowing; nothing need be done.
        case info
        /// Should be put right in time.
        case warning
        /// Keeps a node from working, loses data, or lets strangers in.
        case critical

        package static func < (a: Severity, b: Severity) -> Bool { a.rank < b.rank }
        private var rank: Int {
            switch self {
            case .info: 0
            case .warning: 1
            case .critical: 2
            }
        }
    }

    package enum Area: String, Sendable, Codable, CaseIterable {
        case host
        case files
        case controlPlane = "control-plane"
        case kubelet
        case cluster
    }

    /// Names the check; stays the same between versions.
    package var id: String
    package var area: Area
    package var severity: Severity
    /// What is wrong, in a line.
    package var title: String
    /// What was seen.
    package var evidence: String
    /// What to do about it.
    package var fix: String

    package init(
        _ id: String, _ area: Area, _ severity: Severity, _ title: String, evidence: String, fix: String
    ) {
        self.id = id
        self.area = area
        self.severity = severity
        self.title = title
        self.evidence = evidence
        self.fix = fix
    }
}

/// What the doctor found on a machine and in its cluster.
package struct DoctorReport: Sendable, Codable {
    package var host: String
    package var role: HostFacts.Role
    /// How many checks were made.
    package var checks: Int
    /// The most severe first.
    package var findings: [Finding]
    /// What could not be looked at, and why.
    package var notes: [String]

    package func count(_ severity: Finding.Severity) -> Int { findings.count { $0.severity == severity } }

    package var worst: Finding.Severity? { findings.map(\.severity).max() }
}
