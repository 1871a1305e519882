import MetricModel

/// What is known about a tree before it is evaluated: which nodes do not depend on the step, and which stand in it more
/// than once.
struct QueryPlan {
    private var invariant: Set<ObjectIdentifier> = []
    private var texts: [ObjectIdentifier: String] = [:]
    private var nameless: Set<ObjectIdentifier> = []

    init(_ root: Expr) {
        _ = markInvariant(root)
        // Telling equal subtrees by their text costs the product of depth and length; deep trees go without. With one selector
        // there is no work to share.
        if root.depth > 1, root.depth <= 40, selectors(root) > 1 { findShared(root) }
        findNameless(root)
    }

    func isInvariant(_ expr: Expr) -> Bool { invariant.contains(ObjectIdentifier(expr)) }

    /// The node's text where the same work stands elsewhere in the tree too.
    func sharedText(_ expr: Expr) -> String? { texts.isEmpty ? nil : texts[ObjectIdentifier(expr)] }

    /// Whether nobody sees that a call's result still has its metric's name: of series of one metric, which stay apart without it, that
    /// are added up by labels other than it.
    func namesMayStay(_ call: Expr) -> Bool { nameless.contains(ObjectIdentifier(call)) }

    private mutating func findNameless(_ root: Expr) {
        root.visit { expr in
            guard case .aggregate(let aggregation) = expr.kind, !aggregation.without, !aggregation.op.choosesSeries,
                !aggregation.grouping.contains(where: { $0.hasPrefix("__") })
            else { return }
            let call = aggregation.expr.unwrapped
            guard texts[ObjectIdentifier(call)] == nil, case .call(_, let arguments) = call.kind,
                arguments.contains(where: { $0.unwrapped.isOfOneMetric })
            else { return }
            nameless.insert(ObjectIdentifier(call))
        }
    }

    private mutating func markInvariant(_ expr: Expr) -> Bool {
        var childrenAre = true
        for child in expr.children where !markInvariant(child) { childrenAre = false }
        let result: Bool
        switch expr.kind {
        case .number, .string: result = true
        case .vector(let selector), .matrix(let selector, _): result = selector.time.at != .none
        case .subquery(let subquery): result = subquery.time.at != .none
        case .call(let function, _): result = childrenAre && !function.dependsOnTime
        case .aggregate, .binary, .unary, .paren: result = childrenAre
        }
        if result { invariant.insert(ObjectIdentifier(expr)) }
        return result
    }

    private func selectors(_ root: Expr) -> Int {
        var count = 0
        root.visit { expr in
            switch expr.kind {
            case .vector, .matrix: count += 1
            default: break
            }
        }
        return count
    }

    private mutating func findShared(_ root: Expr) {
        var nodes: [(id: ObjectIdentifier, text: String)] = []
        var count: [String: Int] = [:]
        root.visit { expr in
            switch expr.kind {
            case .vector, .call, .aggregate, .binary:
                let text = expr.description
                nodes.append((ObjectIdentifier(expr), text))
                count[text, default: 0] += 1
            default: break
            }
        }
        for node in nodes where (count[node.text] ?? 0) > 1 { texts[node.id] = node.text }
    }
}

extension Expr {
    /// A range selector that names its metric.
    fileprivate var isOfOneMetric: Bool {
        guard case .matrix(let selector, _) = kind else { return false }
        return selector.matchers.contains { $0.op == .equal && $0.name == Labels.metricNameLabel && !$0.value.isEmpty }
    }
}

extension Aggregator {
    /// Whether series come out as they are, or by their values, and not one for each group.
    fileprivate var choosesSeries: Bool {
        switch self {
        case .topk, .bottomk, .limitk, .limitRatio, .countValues: true
        default: false
        }
    }
}
