/// One step of a restore. Each can be done again after a kill in its midst, with the same result.
package struct RestoreStep: Sendable, Codable, Equatable {
    package enum Action: Sendable, Codable, Equatable {
        /// Brings the backup's files from its destination.
        case fetch
        /// Makes the new data directory beside the old one, and checks the backup while it does.
        case build
        /// Puts back what the node lacks of the bundle's files.
        case putBack
        /// Moves a static pod's manifest away and proves that its process is gone.
        case stop(component: String)
        /// Proves that no etcd uses the data directory.
        case proveStopped
        case setAside
        case activate
        /// Puts a static pod's manifest back.
        case start(component: String)
        /// Waits until etcd serves and compares what it serves with the backup.
        case proveServing
        case disarm
        /// Compares the members' own hashes of their keys.
        case compareMembers
        case proveServer
        case restartKubelet
        /// Restarts kubelet where it cannot have run.
        case reviveKubelet
        /// Reports what the restored cluster believes and is not so.
        case lookForStale
        /// Over SSH: the other members have what they need and have made their plans; nothing is changed there.
        case prepareOthers
        /// The other members are restored from here on, beside the steps on this node.
        case beginOthers
        /// Waits until their restores have ended.
        case awaitOthers
        /// Fails where one of them did.
        case judgeOthers
    }

    package var action: Action
    /// What it does, for people.
    package var description: String
}

/// A restore that was begun: kept beside the data directory, and the reason why it can be resumed or undone.
struct RestoreJournal: Codable, Equatable {
    static let formatVersion = 1

    enum State: String, Codable {
        case running
        case finished
        case undone
    }

    var formatVersion = RestoreJournal.formatVersion
    var started: String
    var state = State.running
    /// How many steps are done.
    var done = 0
    var plan: RestorePlan.Record
    /// What went wrong last.
    var lastProblem: String?
    /// What the steps that are done had to say.
    var notes: [String]?
    /// Files of the node were put back.
    var hasPutBack: Bool?
    /// No majority of members was restored yet: nothing was proven that needs one.
    var waitsForOthers: Bool?
    /// Newest revision in the directory that was made, the log of changes and the bump included.
    var builtRevision: Int64?

    /// Whether it ended before it touched anything but what it makes for itself: only fetched and built, and no other node
    /// was begun with.
    var hasChangedNothing: Bool {
        guard plan.remote == nil else { return false }
        let harmless = plan.steps.prefix { $0.action == .fetch || $0.action == .build }.count
        return done < harmless
    }
}
