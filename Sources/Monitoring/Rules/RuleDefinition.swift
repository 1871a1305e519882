package import MetricModel
package import PromQL

/// A rule as a rule file states it. Times are milliseconds.
package struct RuleDefinition: Sendable {
    package enum Kind: Sendable, Hashable {
        case record
        /// Fires when its expression has held for `hold`; goes on firing for `keepFiringFor` after it has ended.
        case alert(hold: Int64, keepFiringFor: Int64, annotations: Labels)
    }

    /// The recorded metric's or the alert's name.
    package var name: String
    package var kind: Kind
    package var expr: Expr
    /// Templates in an alerting rule, plain in a recording rule; those of the group are among them.
    package var labels: Labels
    /// Labels given as empty: the rule takes them away.
    package var removedLabels: [String]

    package init(name: String, kind: Kind, expr: Expr, labels: Labels, removedLabels: [String] = []) {
        self.name = name
        self.kind = kind
        self.expr = expr
        self.labels = labels
        self.removedLabels = removedLabels
    }

    package var isAlert: Bool {
        if case .alert = kind { true } else { false }
    }

    /// What must agree for a rule of a new configuration to take over the old one's alerts.
    struct Identity: Hashable {
        let name: String
        let labels: Labels
        let isAlert: Bool
    }

    var identity: Identity { Identity(name: name, labels: labels, isAlert: isAlert) }
}

extension RuleDefinition: Equatable {
    package static func == (a: RuleDefinition, b: RuleDefinition) -> Bool {
        a.name == b.name && a.kind == b.kind && a.labels == b.labels && a.removedLabels == b.removedLabels
            && a.expr.description == b.expr.description
    }
}

/// Rules that are evaluated one after the other at the same moment. Times are milliseconds.
package struct RuleGroupDefinition: Sendable, Equatable {
    package var name: String
    package var file: String
    package var interval: Int64
    /// Most series or alerts that one rule may yield; 0 means no limit.
    package var limit = 0
    /// How far before the evaluation's time expressions are evaluated.
    package var queryOffset: Int64 = 0
    package var rules: [RuleDefinition] = []

    package init(name: String, file: String, interval: Int64) {
        self.name = name
        self.file = file
        self.interval = interval
    }

    /// Files and names together tell groups apart.
    package var key: String { "\(file);\(name)" }
}
