import MetricModel
import Platform

/// One entry of `remote_read`, with Prometheus' keys and defaults.
package struct RemoteReadConfig: Sendable, Equatable {
    package var url: String
    /// As configured, or the URL without its secrets.
    package var name: String
    /// Milliseconds.
    package var timeout: Int64 = 60_000
    package var headers: [HTTPClientConfig.Header] = []
    package var client = HTTPClientConfig()
    /// Asked for times that the local store covers as well.
    package var readsRecent = false
    /// Only selectors with all these equality matchers go there.
    package var requiredMatchers: [String: String] = [:]
    /// External labels are matched in the request and taken off the answer.
    package var filtersExternalLabels = true

    package init(url: String, name: String? = nil) {
        self.url = url
        self.name = name ?? redactURL(url)
    }

    /// What to ask for where a selector of the local store is evaluated; nil: nothing. `localStart` is the first time that
    /// the local store covers.
    func question(_ matchers: [LabelMatcher], from: Int64, through: Int64, external: Labels, localStart: Int64)
        -> ReadQuestion?
    {
        let hasRequired = requiredMatchers.allSatisfy { name, value in
            matchers.contains { $0.name == name && $0.op == .equal && $0.value == value }
        }
        guard hasRequired else { return nil }
        var through = through
        if !readsRecent {
            if from > localStart { return nil }
            through = min(through, localStart)
        }
        var question = ReadQuestion(from: from, through: through, matchers: matchers)
        if filtersExternalLabels {
            for (name, value) in external.pairs where !matchers.contains(where: { $0.name == name }) {
                question.matchers.append(LabelMatcher(name, equals: value))
                question.added.append(name)
            }
        }
        return question
    }
}

/// One selector for one endpoint. Bounds are inclusive, milliseconds.
struct ReadQuestion: Sendable, Equatable {
    var from: Int64
    var through: Int64
    var matchers: [LabelMatcher]
    /// Labels that were added to the matchers and are taken off the answer.
    var added: [String] = []

    /// `prometheus.ReadRequest` in a snappy block. Both forms of answer are taken, chunks first.
    var body: [UInt8] {
        var query = MessageWriter()
        query.varint(1, UInt64(bitPattern: from))
        query.varint(2, UInt64(bitPattern: through))
        for matcher in matchers {
            var one = MessageWriter()
            let types: [MatchOperator] = [.equal, .notEqual, .regex, .notRegex]
            if let type = types.firstIndex(of: matcher.op), type > 0 { one.varint(1, UInt64(type)) }
            one.field(2, matcher.name.utf8)
            one.field(3, matcher.value.utf8)
            query.field(3, one.bytes)
        }
        var request = MessageWriter()
        request.field(1, query.bytes)
        request.field(2, [1, 0])
        return Snappy.packed(request.bytes)
    }
}
