import Etcd
package import Platform

/// Asks all members for their state every half a minute and keeps it as metrics (`kops_etcd_…`). Thread-safe.
package final class EtcdMonitor: Sendable {
    private struct Seen {
        var survey: EtcdSurvey?
        var hashesAgree: Bool?
    }

    private let seen = Lock(Seen())
    private let options: @Sendable () -> EtcdOptions?
    private let interval: Duration
    private let hashInterval: Duration

    /// `options` is asked before each round; nil means that nobody has named an etcd, and none is asked.
    package init(
        registry: MetricRegistry, interval: Duration = .seconds(30), hashInterval: Duration = .seconds(3600),
        options: @escaping @Sendable () -> EtcdOptions?
    ) {
        self.options = options
        self.interval = interval
        self.hashInterval = hashInterval
        let seen = seen
        registry.onCollect { writer in
            let now = seen.withLock { $0 }
            if let survey = now.survey { EtcdMonitor.write(survey, now.hashesAgree, &writer) }
        }
    }

    /// Until the task is cancelled.
    package func run() async {
        let http = HTTPClient(name: "kops-etcd-watch")
        defer { http.shutdown() }
        var hashed: ContinuousClock.Instant?
        while !Task.isCancelled {
            if let options = options() {
                let survey = await EtcdSurvey.take(options, http: http)
                seen.withLock { $0.survey = survey }
                if hashed.map({ ContinuousClock.now - $0 >= hashInterval }) ?? true {
                    let agree = await survey.hashesAgree(options, http: http)
                    seen.withLock { $0.hashesAgree = agree }
                    // A revision that was compacted meanwhile cannot be compared: soon again.
                    if agree != nil { hashed = ContinuousClock.now }
                }
            } else {
                seen.withLock { $0 = Seen() }
            }
            try? await Task.sleep(for: interval)
        }
    }

    private static func write(_ survey: EtcdSurvey, _ agree: Bool?, _ writer: inout MetricWriter) {
        writer.write("kops_etcd_members", "Members of etcd, learners among them.", Double(survey.members.count))
        for member in survey.members {
            let labels = [("member", member.name.isEmpty ? member.endpoint : member.name)]
            writer.write(
                "kops_etcd_member_up", "Whether the member tells its state.", labels: labels,
                member.status == nil ? 0 : 1)
            guard let status = member.status else { continue }
            let values: [(String, String, Double)] = [
                ("has_leader", "Whether the member knows a leader.", status.leader == 0 ? 0 : 1),
                ("is_leader", "Whether the member leads.", status.isLeader ? 1 : 0),
                ("is_learner", "Whether the member has no vote yet.", status.isLearner ? 1 : 0),
                ("database_bytes", "Bytes of the member's database file.", Double(status.databaseSize)),
                (
                    "database_in_use_bytes", "Bytes of the database that are in use; defragmenting frees the others.",
                    Double(status.databaseSizeInUse)
                ),
                ("revision", "Newest revision of the keys.", Double(status.header.revision)),
                ("raft_index", "Newest entry of the member's log.", Double(status.raftIndex)),
                ("raft_applied_index", "Newest entry that the member has applied.", Double(status.appliedIndex)),
            ]
            for (name, help, value) in values {
                writer.write("kops_etcd_member_\(name)", help, labels: labels, value)
            }
            writer.write(
                "kops_etcd_member_info", "The member's version.", labels: labels + [("version", status.version)], 1)
        }
        if let alarms = survey.alarms {
            for (kind, name) in [(EtcdAlarm.Kind.noSpace, "NOSPACE"), (.corrupt, "CORRUPT")] {
                writer.write(
                    "kops_etcd_alarms", "Alarms that are on.", labels: [("alarm", name)],
                    Double(alarms.count { $0.kind == kind }))
            }
        }
        if let agree {
            writer.write(
                "kops_etcd_hashes_agree", "Whether all members hold the same keys, by etcd's own hash.", agree ? 1 : 0)
        }
    }
}
