package import MetricModel

/// A route with everything inherited filled in.
package struct RouteNode: Sendable {
    package let index: Int
    package let parent: Int?
    /// As in Alertmanager's group keys: the matchers from the root down, `{}/{a="b"}`.
    package let key: String
    package let receiver: String
    package let groupBy: Set<String>
    package let groupByAll: Bool
    package let groupWait: Int64
    package let groupInterval: Int64
    package let repeatInterval: Int64
    package let matchers: [LabelMatcher]
    package let continues: Bool
    package let muteTimeIntervals: [String]
    package let activeTimeIntervals: [String]
    package fileprivate(set) var children: [Int] = []

    /// The labels by which an alert's group is told from the route's others.
    package func groupLabels(_ labels: Labels) -> Labels {
        groupByAll ? labels : labels.removing { !groupBy.contains(String(decoding: $0, as: UTF8.self)) }
    }
}

/// The route tree as an array, the root first, parents before children. Immutable.
package struct RouteTree: Sendable {
    package private(set) var nodes: [RouteNode] = []

    package init(_ root: RouteConfig) { _ = add(root, parent: nil) }

    private mutating func add(_ config: RouteConfig, parent: Int?) -> Int {
        let index = nodes.count
        let up = parent.map { nodes[$0] }
        let matchers = sortedMatchers(config.matchers)
        let own = matchersText(matchers)
        nodes.append(
            RouteNode(
                index: index, parent: parent, key: up.map { "\($0.key)/\(own)" } ?? own,
                receiver: config.receiver ?? up?.receiver ?? "",
                groupBy: config.groupBy.map(Set.init) ?? (config.groupByAll ? [] : up?.groupBy ?? []),
                groupByAll: config.groupByAll || (config.groupBy == nil && up?.groupByAll ?? false),
                groupWait: config.groupWait ?? up?.groupWait ?? 30_000,
                groupInterval: config.groupInterval ?? up?.groupInterval ?? 300_000,
                repeatInterval: config.repeatInterval ?? up?.repeatInterval ?? 14_400_000, matchers: matchers,
                continues: config.continues, muteTimeIntervals: config.muteTimeIntervals,
                activeTimeIntervals: config.activeTimeIntervals))
        for child in config.routes {
            let made = add(child, parent: index)
            nodes[index].children.append(made)
        }
        return index
    }

    /// The routes that take an alert, in the file's order: in each branch the deepest that match. A child that matches
    /// ends the search among its siblings unless it says `continue`.
    package func matching(_ labels: Labels) -> [Int] {
        var out: [Int] = []
        _ = match(0, labels, &out)
        return out
    }

    private func match(_ index: Int, _ labels: Labels, _ out: inout [Int]) -> Bool {
        let node = nodes[index]
        guard node.matchers.allSatisfy({ $0.matches(labels) }) else { return false }
        var matched = false
        for child in node.children where match(child, labels, &out) {
            matched = true
            if !nodes[child].continues { break }
        }
        if !matched { out.append(index) }
        return true
    }
}
