import MetricModel

/// What an `eval` command expects.
struct ScriptExpectation {
    enum Kind: String { case fail, warn, info, ordered, noWarn = "no_warn", noInfo = "no_info" }

    struct Match {
        var kind: Kind
        var text: String?
        var regex: Regex2?

        func matches(_ actual: String) -> Bool {
            if let regex { return regex.match(Array(actual.utf8)) != nil }
            if let text { return text == actual || unquoteGo(text.utf8) == actual }
            return true
        }
    }

    var matches: [Match] = []
    var string: String?
    /// From `expect range vector`: milliseconds.
    var rangeVector: (from: Int64, through: Int64, step: Int64)?
    var scalar: Double?
    /// In order of the lines.
    var series: [(line: Int, labels: Labels, values: [SequenceValue])] = []

    func has(_ kind: Kind) -> Bool { matches.contains { $0.kind == kind } }
    func all(_ kind: Kind) -> [Match] { matches.filter { $0.kind == kind } }
}

extension ScriptRunner {
    private enum Query {
        case instant(at: Int64)
        case range(from: Int64, through: Int64, step: Int64)
    }

    mutating func evaluate() {
        let start = at
        let line = lines[at]
        let body = block()
        var words = line[...]
        func word(_ words: inout Substring) -> String {
            words = words.drop { $0 == " " || $0 == "\t" }
            let next = words.prefix { $0 != " " && $0 != "\t" }
            words = words.dropFirst(next.count)
            return String(next)
        }
        let command = word(&words)
        let usage =
            "invalid eval command. Must be 'eval[_fail|_warn|_ordered|_info] instant at <time> <query>' or 'eval[_fail|_warn|_info] range from <from> to <to> step <step> <query>'"
        var query: Query?
        switch word(&words) {
        case "instant":
            if word(&words) == "at", let time = signedDuration(word(&words)) { query = .instant(at: time) }
        case "range":
            if word(&words) == "from", let from = signedDuration(word(&words)), word(&words) == "to",
                let to = signedDuration(word(&words)), word(&words) == "step", let step = signedDuration(word(&words))
            {
                query = .range(from: from, through: to, step: step)
            }
        default: break
        }
        guard let query else {
            fail(start, usage)
            return
        }
        var expectation = ScriptExpectation()
        switch command {
        case "eval": break
        case "eval_fail": expectation.matches.append(.init(kind: .fail))
        case "eval_warn": expectation.matches.append(.init(kind: .warn))
        case "eval_info": expectation.matches.append(.init(kind: .info))
        case "eval_ordered": expectation.matches.append(.init(kind: .ordered))
        default:
            fail(start, usage)
            return
        }
        for (line, text) in body {
            if let message = read(text, line, &expectation) {
                fail(line, message)
                return
            }
        }
        if let message = check(trim(words), query, expectation) {
            fail(start, "\(trim(words)): \(message)")
        } else {
            outcome.passed += 1
        }
    }

    private func signedDuration(_ text: String) -> Int64? {
        if text.hasPrefix("-") { return parseDuration(String(text.dropFirst())).map { -$0 } }
        return parseDuration(text)
    }

    /// Reads one line below an `eval`; a message where it is none.
    private func read(_ text: String, _ line: Int, _ expectation: inout ScriptExpectation) -> String? {
        for (prefix, isRegex) in [("expected_fail_message ", false), ("expected_fail_regexp ", true)]
        where text.hasPrefix(prefix) {
            let wanted = trim(text.dropFirst(prefix.count))
            let regex = isRegex ? try? Regex2(wanted, dotMatchesNewline: false) : nil
            if isRegex, regex == nil { return "invalid regular expression \(quoteGo(wanted))" }
            expectation.matches.append(.init(kind: .fail, text: isRegex ? nil : wanted, regex: regex))
            return nil
        }
        let words = text.split(whereSeparator: { $0 == " " || $0 == "\t" })
        if words.first == "expect" { return readExpect(text, words, &expectation) }
        if words.count == 1, let value = parseFloat(text) {
            expectation.scalar = value
            return nil
        }
        do {
            let (labels, values) = try parseSeriesDescription(text)
            expectation.series.append((line, labels, values))
            return nil
        } catch {
            return "\(error)"
        }
    }

    private func readExpect(
        _ text: String, _ words: [Substring], _ expectation: inout ScriptExpectation
    ) -> String? {
        let rest = trim(text.dropFirst(6))
        if rest.hasPrefix("string") {
            guard let value = unquoteGo(trim(rest.dropFirst(6)).utf8) else { return "expected string must be quoted" }
            expectation.string = value
            return nil
        }
        if words.count >= 9, words[1] == "range", words[2] == "vector" {
            guard words[3] == "from", let from = signedDuration(String(words[4])), words[5] == "to",
                let through = signedDuration(String(words[6])), words[7] == "step",
                let step = signedDuration(String(words[8])), step > 0
            else { return "invalid expect range vector" }
            expectation.rangeVector = (from, through, step)
            return nil
        }
        guard words.count > 1, let kind = ScriptExpectation.Kind(rawValue: String(words[1])) else {
            return "invalid expected type in expect line: \(quoteGo(text))"
        }
        let tail = trim(rest.dropFirst(words[1].count))
        if tail.isEmpty {
            expectation.matches.append(.init(kind: kind))
        } else if tail.hasPrefix("msg:") {
            expectation.matches.append(.init(kind: kind, text: trim(tail.dropFirst(4))))
        } else if tail.hasPrefix("regex:") {
            let pattern = trim(tail.dropFirst(6))
            guard let regex = try? Regex2(pattern, dotMatchesNewline: false) else {
                return "invalid regular expression \(quoteGo(pattern))"
            }
            expectation.matches.append(.init(kind: kind, regex: regex))
        } else {
            return "invalid token in expect line: \(quoteGo(tail))"
        }
        return nil
    }

    // MARK: - Checking

    private func check(_ text: String, _ query: Query, _ expectation: ScriptExpectation) -> String? {
        let result: QueryResult
        do {
            let expr = try engine.parse(text)
            switch query {
            case .instant(let time):
                result = try engine.instant(expr, at: time, source: store, control: QueryControl(), text: text)
            case .range(let from, let through, let step):
                result = try engine.range(
                    expr, from: from, through: through, step: step, source: store, control: QueryControl(), text: text)
            }
        } catch {
            let message = "\(error)"
            guard expectation.has(.fail) else { return "error evaluating query: \(message)" }
            for match in expectation.all(.fail) where !match.matches(message) {
                return "expected another error than \(quoteGo(message))"
            }
            return nil
        }
        if expectation.has(.fail) { return "expected the query to fail, but it did not" }
        if let message = checkNotes(result, expectation) { return message }
        switch query {
        case .range(let from, let through, let step):
            guard case .matrix(let series) = result.value else { return "the result is no matrix" }
            return compareMatrix(series, expectation, from: from, through: through, step: step)
        case .instant(let time):
            if let message = compareInstant(result.value, expectation) { return message }
            return thorough ? checkAgain(text, time, expectation) : nil
        }
    }

    private func checkNotes(_ result: QueryResult, _ expectation: ScriptExpectation) -> String? {
        for (kind, none, actual) in [
            (ScriptExpectation.Kind.warn, ScriptExpectation.Kind.noWarn, result.warnings),
            (.info, .noInfo, result.infos),
        ] {
            let what = kind == .warn ? "warning" : "info"
            if expectation.has(none), let first = actual.first { return "unexpected \(what): \(first)" }
            let wanted = expectation.all(kind)
            if wanted.isEmpty { continue }
            for match in wanted where !actual.contains(where: match.matches) {
                if actual.isEmpty { return "expected a \(what), but there is none" }
                return "no \(what) matches \(match.text ?? match.regex?.pattern ?? ""); there are: \(actual)"
            }
            for note in actual where !wanted.contains(where: { $0.matches(note) }) {
                return "unexpected \(what): \(note)"
            }
        }
        return nil
    }

    private func same(_ wanted: SequenceValue, _ value: Double, _ histogram: NativeHistogram?) -> String? {
        switch (wanted.histogram, histogram) {
        case (nil, nil):
            if almostEqual(wanted.value, value, 1e-6) { return nil }
            return "expected \(formatFloat(wanted.value)), got \(formatFloat(value))"
        case (let a?, let b?):
            if sameHistogram(a, b, hint: wanted.hintIsSet) { return nil }
            return
                "expected \(a) \(a.counterResetHint), schema \(a.schema), got \(b) \(b.counterResetHint), schema \(b.schema)"
        case (let a?, nil): return "expected histogram \(a), got \(formatFloat(value))"
        case (nil, let b?): return "expected \(formatFloat(wanted.value)), got histogram \(b)"
        }
    }

    private func sameHistogram(_ a: NativeHistogram, _ b: NativeHistogram, hint: Bool) -> Bool {
        func near(_ x: Double, _ y: Double) -> Bool { almostEqual(x, y, 1e-6) }
        guard a.schema == b.schema, near(a.count, b.count), near(a.sum, b.sum), a.customValues == b.customValues,
            a.usesCustomBuckets || (a.zeroThreshold == b.zeroThreshold && near(a.zeroCount, b.zeroCount))
        else { return false }
        for positive in [true, false] {
            let x = a.rows(positive: positive).filter { $0.count != 0 }
            let y = b.rows(positive: positive).filter { $0.count != 0 }
            guard x.count == y.count else { return false }
            for (p, q) in zip(x, y) where p.index != q.index || !near(p.count, q.count) { return false }
        }
        return !hint || a.counterResetHint == b.counterResetHint
    }

    private func compareInstant(_ value: QueryValue, _ expectation: ScriptExpectation) -> String? {
        switch value {
        case .string(_, let text):
            guard let wanted = expectation.string else { return "got a string where none was expected" }
            return wanted == text ? nil : "expected string \(quoteGo(wanted)), got \(quoteGo(text))"
        case .scalar(_, let number):
            guard let wanted = expectation.scalar else { return "expected no scalar, got \(formatFloat(number))" }
            return almostEqual(wanted, number, 1e-6)
                ? nil : "expected scalar \(formatFloat(wanted)), got \(formatFloat(number))"
        case .vector(let samples): return compareVector(samples, expectation)
        case .matrix(let series):
            guard let range = expectation.rangeVector else { return "the result is a range vector" }
            return compareMatrix(series, expectation, from: range.from, through: range.through, step: range.step)
        }
    }

    private func compareVector(_ samples: [VectorSample], _ expectation: ScriptExpectation) -> String? {
        if expectation.scalar != nil || expectation.string != nil { return "the result is a vector" }
        var places: [Labels: Int] = [:]
        for (i, wanted) in expectation.series.enumerated() { places[wanted.labels] = i }
        var seen: Set<Labels> = []
        for (i, sample) in samples.enumerated() {
            guard let place = places[sample.labels] else {
                let shown = sample.histogram.map { "\($0)" } ?? formatFloat(sample.value)
                return "unexpected metric \(sample.labels.full) in result, has value \(shown)"
            }
            let wanted = expectation.series[place]
            if expectation.has(.ordered), place != i {
                return
                    "expected metric \(sample.labels.full) with \(wanted.values) at position \(place + 1) but was at \(i + 1)"
            }
            guard let value = wanted.values.first else { return "line \(wanted.line + 1) has no value" }
            if let message = same(value, sample.value, sample.histogram) {
                return "\(message) for \(sample.labels.full)"
            }
            seen.insert(sample.labels)
        }
        for wanted in expectation.series where !seen.contains(wanted.labels) {
            return "expected metric \(wanted.labels.full) not found"
        }
        return nil
    }

    private func compareMatrix(
        _ series: [SeriesData], _ expectation: ScriptExpectation, from: Int64, through: Int64, step: Int64
    ) -> String? {
        var wanted: [Labels: [SequenceValue]] = [:]
        for one in expectation.series { wanted[one.labels] = one.values }
        var seen: Set<Labels> = []
        for one in series {
            guard let values = wanted[one.labels] else {
                return "unexpected metric \(one.labels.full) in result, with \(one.values.count) points"
            }
            seen.insert(one.labels)
            var next = 0
            for (i, value) in values.enumerated() where !value.omitted {
                let time = from + Int64(i) * step
                if time > through { return "more values are expected for \(one.labels.full) than there are steps" }
                guard next < one.timestamps.count, one.timestamps[next] == time else {
                    return "expected a point at \(time) ms for \(one.labels.full), there is none"
                }
                if let message = same(value, one.values[next], one.histograms?[next]) {
                    return "\(message) at \(time) ms for \(one.labels.full)"
                }
                next += 1
            }
            if next < one.timestamps.count {
                return "unexpected point at \(one.timestamps[next]) ms for \(one.labels.full)"
            }
        }
        for one in expectation.series where !seen.contains(one.labels) {
            if one.values.contains(where: { !$0.omitted }) { return "expected metric \(one.labels.full) not found" }
        }
        return nil
    }

    // MARK: - Asking again

    /// The same value must come from the middle of a range, and, with every selector pinned, from any other time.
    private func checkAgain(_ text: String, _ time: Int64, _ expectation: ScriptExpectation) -> String? {
        guard let expr = try? engine.parse(text) else { return nil }
        let type = expr.valueType
        if type == .string || type == .matrix || expectation.has(.ordered) { return nil }
        for word in ["start(", "end(", "range(", "step("] where text.contains(word) { return nil }
        do {
            let result = try engine.range(
                expr, from: time - 60_000, through: time + 60_000, step: 60_000, source: store, control: QueryControl())
            guard case .matrix(let series) = result.value else { return nil }
            var samples: [VectorSample] = []
            for one in series {
                guard let i = one.timestamps.firstIndex(of: time) else { continue }
                samples.append(
                    VectorSample(
                        labels: one.labels, timestamp: time, value: one.values[i], histogram: one.histograms?[i]))
            }
            let value =
                type == .scalar ? QueryValue.scalar(timestamp: time, value: samples[0].value) : .vector(samples)
            if let message = compareInstant(value, expectation) { return "in range mode: \(message)" }
        } catch {
            return "in range mode: \(error)"
        }
        guard let pinned = expr.pinned(to: time) else { return nil }
        for other in [0, time / 2, time + 3_600_000, -3_600_000] {
            do {
                let result = try engine.instant(pinned, at: other, source: store, control: QueryControl())
                if let message = compareInstant(result.value, expectation) {
                    return "as \(pinned) at \(other) ms: \(message)"
                }
            } catch {
                return "as \(pinned) at \(other) ms: \(error)"
            }
        }
        return nil
    }
}

extension Expr {
    /// The same with `@` on every selector outside subqueries and on subqueries; nil where the value depends on the time of
    /// evaluation in another way too.
    func pinned(to time: Int64) -> Expr? {
        switch kind {
        case .number, .string: return self
        case .vector(var selector):
            if selector.time.at == .none { selector.time.at = .time(time) }
            return Expr(.vector(selector), range)
        case .matrix(var selector, let window):
            if selector.time.at == .none { selector.time.at = .time(time) }
            return Expr(.matrix(selector, range: window), range)
        case .subquery(var subquery):
            if subquery.time.at == .none { subquery.time.at = .time(time) }
            return Expr(.subquery(subquery), range)
        case .paren(let inner): return inner.pinned(to: time).map { Expr(.paren($0), range) }
        case .unary(let negative, let inner):
            return inner.pinned(to: time).map { Expr(.unary(negative: negative, $0), range) }
        case .aggregate(var aggregation):
            guard let inner = aggregation.expr.pinned(to: time) else { return nil }
            aggregation.expr = inner
            if let parameter = aggregation.parameter {
                guard let pinned = parameter.pinned(to: time) else { return nil }
                aggregation.parameter = pinned
            }
            return Expr(.aggregate(aggregation), range)
        case .binary(var binary):
            guard let lhs = binary.lhs.pinned(to: time), let rhs = binary.rhs.pinned(to: time) else { return nil }
            binary.lhs = lhs
            binary.rhs = rhs
            return Expr(.binary(binary), range)
        case .call(let function, let arguments):
            if function.dependsOnTime || function.name == "info" { return nil }
            var pinned: [Expr] = []
            for argument in arguments {
                guard let one = argument.pinned(to: time) else { return nil }
                pinned.append(one)
            }
            return Expr(.call(function, pinned), range)
        }
    }
}
