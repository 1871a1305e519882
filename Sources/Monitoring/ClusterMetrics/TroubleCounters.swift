import Kubernetes

/// Counts what went wrong with pods, from their states and from events: evictions, kills for want of memory, and attempts to
/// place a pod that failed. What was there when the sidecar started is not counted: it was counted then, or is old. A value;
/// used by one thread at a time.
struct TroubleCounters {
    enum Trouble: String, CaseIterable {
        case evicted = "Evicted"
        case oomKilled = "OOMKilled"
        case failedScheduling = "FailedScheduling"
    }

    struct Place: Hashable {
        var trouble: Trouble
        var namespace: String
    }

    private(set) var counts: [Place: Int] = [:]
    /// What was counted already: a pod's uid, a container's run, an event's uid with its count. Bounded: pods and events that
    /// are gone are forgotten.
    private var pods: [ObjectKey: Set<String>] = [:]
    private var events: [ObjectKey: Int] = [:]
    private var isPrimed = false

    static func labels(_ place: Place) -> [(String, String)] {
        [("namespace", place.namespace), ("reason", place.trouble.rawValue)]
    }

    mutating func look(_ pods: [ObjectKey: Pod], _ events: [ObjectKey: Event]) {
        for (key, pod) in pods { look(key, pod) }
        self.pods = self.pods.filter { pods[$0.key] != nil }
        for (key, event) in events { look(key, event, pods) }
        self.events = self.events.filter { events[$0.key] != nil }
        isPrimed = true
    }

    private mutating func look(_ key: ObjectKey, _ pod: Pod) {
        if pod.status?.reason == "Evicted" { count(.evicted, "evicted \(pod.metadata.uid ?? "")", of: key) }
        for status in (pod.status?.containerStatuses ?? []) + (pod.status?.initContainerStatuses ?? []) {
            for run in [status.state?.terminated, status.lastState?.terminated] {
                guard let run, run.reason == "OOMKilled" else { continue }
                let id = run.containerID ?? "\(status.name) \(run.finishedAt?.milliseconds ?? 0)"
                count(.oomKilled, "oom \(id)", of: key)
            }
        }
    }

    private mutating func count(_ trouble: Trouble, _ id: String, of pod: ObjectKey) {
        guard pods[pod, default: []].insert(id).inserted, isPrimed else { return }
        counts[Place(trouble: trouble, namespace: pod.namespace), default: 0] += 1
    }

    private mutating func look(_ key: ObjectKey, _ event: Event, _ pods: [ObjectKey: Pod]) {
        guard event.involvedObject?.kind == "Pod", let trouble = event.reason.flatMap({ Trouble(rawValue: $0) }) else {
            return
        }
        let before = events.updateValue(event.occurrences, forKey: key) ?? 0
        guard event.occurrences > before else { return }
        let pod = ObjectKey(namespace: event.involvedObject?.namespace ?? "", name: event.involvedObject?.name ?? "")
        switch trouble {
        // Each is told by the pod's state as well, where the pod is still there.
        case .evicted:
            if pods[pod] == nil {
                if isPrimed { counts[Place(trouble: trouble, namespace: pod.namespace), default: 0] += 1 }
            } else {
                count(.evicted, "evicted \(event.involvedObject?.uid ?? "")", of: pod)
            }
        case .oomKilled: break
        case .failedScheduling:
            if isPrimed {
                counts[Place(trouble: trouble, namespace: pod.namespace), default: 0] += event.occurrences - before
            }
        }
    }
}
