import Logging
package import MetricModel
import Platform
import Synchronization

/// Evaluates all groups, each at its interval. Thread-safe.
///
/// A group's evaluations lie on a grid that its name shifts, so that groups do not all start at once. An evaluation that
/// takes longer than the interval skips those it overran, counted. A new configuration keeps groups that did not change
/// and hands the alerts of those that did to their successors.
package final class RuleManager: Sendable {
    private struct Running {
        var group: RuleGroup
        var task: Task<Void, Never>?
    }

    private struct State {
        var order: [String] = []
        var groups: [String: Running] = [:]
        var environment: RuleEnvironment
        var running = false
    }

    private let state: Lock<State>

    package init(_ environment: RuleEnvironment) { state = Lock(State(environment: environment)) }

    /// Takes a new set of groups and the surroundings that may change with them.
    package func apply(
        _ definitions: [RuleGroupDefinition], externalLabels: Labels, externalURL: String
    ) {
        let (ended, now) = state.withLock { state -> ([RuleGroup], Int64) in
            let sameSurroundings =
                state.environment.externalLabels == externalLabels && state.environment.externalURL == externalURL
            state.environment.externalLabels = externalLabels
            state.environment.externalURL = externalURL
            var groups: [String: Running] = [:]
            for definition in definitions {
                if let known = state.groups[definition.key], known.group.definition == definition, sameSurroundings {
                    groups[definition.key] = known
                    continue
                }
                let group = RuleGroup(definition, state.environment)
                if let old = state.groups[definition.key] {
                    old.task?.cancel()
                    group.takeOver(old.group)
                }
                groups[definition.key] = Running(
                    group: group, task: state.running ? start(group, state.environment) : nil)
                state.environment.metrics.gauge(
                    "prometheus_rule_group_rules", "Rules of a group.", labels: [("rule_group", definition.key)]
                ).set(Double(definition.rules.count))
                state.environment.metrics.gauge(
                    "prometheus_rule_group_interval_seconds", "A group's interval.",
                    labels: [("rule_group", definition.key)]
                ).set(Double(definition.interval) / 1000)
            }
            let ended = state.groups.filter { groups[$0.key] == nil }
            for (key, old) in ended {
                old.task?.cancel()
                for name in Self.groupMetrics {
                    state.environment.metrics.remove(name, labels: [("rule_group", key)])
                }
            }
            state.groups = groups
            state.order = definitions.map(\.key)
            return (ended.map(\.value.group), state.environment.clock.nowMilliseconds())
        }
        for group in ended { group.end(at: now) }
    }

    private static let groupMetrics = [
        "prometheus_rule_group_rules", "prometheus_rule_group_interval_seconds",
        "prometheus_rule_group_iterations_total", "prometheus_rule_group_iterations_missed_total",
        "prometheus_rule_group_last_duration_seconds", "prometheus_rule_group_last_evaluation_timestamp_seconds",
        "prometheus_rule_group_last_evaluation_samples", "prometheus_rule_evaluations_total",
        "prometheus_rule_evaluation_failures_total",
    ]

    /// Evaluates until the task is cancelled.
    package func run() async throws {
        state.withLock { state in
            state.running = true
            for key in state.groups.keys {
                if let group = state.groups[key]?.group {
                    state.groups[key]?.task = start(group, state.environment)
                }
            }
        }
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
        let tasks = state.withLock { state in
            state.running = false
            return state.groups.values.compactMap(\.task)
        }
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
    }

    package func status() -> [RuleGroupStatus] {
        let groups = state.withLock { state in state.order.compactMap { state.groups[$0]?.group } }
        return groups.map(\.status)
    }

    private func start(_ group: RuleGroup, _ environment: RuleEnvironment) -> Task<Void, Never> {
        let interval = max(1, group.definition.interval)
        let offset = Int64(fnv1a(group.definition.key) % UInt64(interval))
        return Task.detached {
            var next = Self.firstTime(after: environment.clock.nowMilliseconds(), interval, offset)
            while !Task.isCancelled {
                let wait = next - environment.clock.nowMilliseconds()
                if wait > 0 {
                    do { try await Task.sleep(for: .milliseconds(min(wait, 60_000))) } catch { return }
                    if wait > 60_000 { continue }
                }
                let at = next
                do {
                    try await group.evaluateSideBySide(at: at, on: .shared)
                } catch {
                    environment.log.warning(
                        "a rule group was not evaluated",
                        metadata: ["group": "\(group.definition.name)", "error": "\(error)"])
                }
                next += interval
                let now = environment.clock.nowMilliseconds()
                if now - next >= interval {
                    let missed = (now - next) / interval
                    next += missed * interval
                    environment.metrics.counter(
                        "prometheus_rule_group_iterations_missed_total",
                        "Evaluations left out because one before them took too long.",
                        labels: [("rule_group", group.definition.key)]
                    ).add(Double(missed))
                }
                // The clock was set back: begin a new grid rather than wait it out.
                if next - now > 2 * interval { next = Self.firstTime(after: now, interval, offset) }
            }
        }
    }

    private static func firstTime(after now: Int64, _ interval: Int64, _ offset: Int64) -> Int64 {
        let base = now - (now % interval) + offset
        return base > now ? base : base + interval
    }
}

private func fnv1a(_ text: String) -> UInt64 {
    text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
}
