import Platform

/// `upgrade:` of the configuration.
package struct UpgradeOptions: Sendable, Hashable {
    package enum Transport: String, Sendable, CaseIterable { case ssh, local }

    /// What is said of a node beside what the API says.
    package struct Node: Sendable, Hashable {
        package var name: String
        package var transport: Transport?
        package var address: String?
        package var user: String?
        package var port: Int?

        package init(name: String) { self.name = name }
    }

    package struct Drain: Sendable, Hashable {
        /// Milliseconds.
        package var timeout: Int64 = 600_000
        /// Seconds; nil: the pods' own.
        package var gracePeriod: Int64?
        package var deletesEmptyDirData = false
        /// Whether pods that nothing would make anew are evicted too.
        package var forcesUnmanaged = false
        /// Whether pods that cannot be evicted in time are deleted, budgets or not.
        package var forcesAtTimeout = false

        package init() {}
    }

    /// An HTTP request, or a command here or on the node; `{node}`, `{address}`, `{target}` and `{cluster}` in its texts are
    /// filled in.
    package struct Hook: Sendable, Hashable {
        package enum Action: Sendable, Hashable {
            case command([String], onNode: Bool)
            case http(url: String, method: String, headers: [Header], body: String, statuses: [Int])
        }
        package struct Header: Sendable, Hashable {
            package var name: String
            package var value: String
            /// A file with the value in its stead, read anew each time.
            package var file: String?

            package init(name: String, value: String, file: String? = nil) {
                self.name = name
                self.value = value
                self.file = file
            }
        }

        package var action: Action
        /// Milliseconds.
        package var timeout: Int64 = 300_000

        package init(_ action: Action) { self.action = action }
    }

    package enum PackageManager: String, Sendable, Codable, CaseIterable {
        case auto, apt, dnf, command
    }

    package struct Packages: Sendable, Hashable {
        package var manager = PackageManager.auto
        /// For `command`: installs `{package}` at `{version}`.
        package var install: [String] = []
        /// For `command`: ends with 0 where `{package}` is to be had at `{version}`.
        package var check: [String] = []

        package init() {}
    }

    package var transport = Transport.ssh
    package var ssh = SSHOptions()
    package var nodes: [Node] = []
    package var maxUnavailable = 1
    package var drain = Drain()
    package var packages = Packages()
    /// More arguments for `kubeadm upgrade apply` and `kubeadm upgrade node`.
    package var kubeadmArguments: [String] = []
    package var snapshotHook: Hook?
    package var beforeNode: Hook?
    package var afterNode: Hook?
    package var health: [Hook] = []
    package var staging: [String] = []
    /// Milliseconds for which the staging nodes must stay healthy.
    package var stagingTime: Int64 = 600_000
    /// Milliseconds each.
    package var apiTimeout: Int64 = 900_000
    package var nodeTimeout: Int64 = 600_000
    package var healthTimeout: Int64 = 300_000
    package var kubeadmTimeout: Int64 = 1_200_000
    package var packageTimeout: Int64 = 900_000
    /// How long a node must be Ready without a break.
    package var settleTime: Int64 = 10_000

    package init() {}

    package func node(_ name: String) -> Node { nodes.first { $0.name == name } ?? Node(name: name) }
}

/// What time it is and how to wait; tests put their own there.
package struct Pacing: Sendable {
    /// Milliseconds since 1970 UTC.
    package var now: @Sendable () -> Int64
    /// Waits so many milliseconds; throws where the task is cancelled.
    package var sleep: @Sendable (Int64) async throws -> Void

    package init(now: @escaping @Sendable () -> Int64, sleep: @escaping @Sendable (Int64) async throws -> Void) {
        self.now = now
        self.sleep = sleep
    }

    package static let real = Pacing(
        now: WallClock.system.nowMilliseconds, sleep: { try await Task.sleep(for: .milliseconds($0)) })
}

/// Why an upgrade did not go on.
package struct UpgradeError: Error, Sendable, Hashable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        /// Something went wrong; the run stops.
        case failed
        /// Not begun for safety; `gates` name what overrides it.
        case refused
        /// The node is no longer in the cluster.
        case nodeGone
        /// Another process is at it, or there is nothing to be done.
        case state
        case invalid
    }

    package let kind: Kind
    package let message: String
    /// Gates that refused.
    package var gates: [String] = []

    package init(_ kind: Kind, _ message: String, gates: [String] = []) {
        self.kind = kind
        self.message = message
        self.gates = gates
    }

    package var description: String { message }
}
