import MetricModel

/// Functions that templates may call, by name.
package struct TemplateFunctions: Sendable {
    package typealias Function = @Sendable ([TemplateValue]) throws -> TemplateValue

    package var all: [String: Function]

    package init(_ all: [String: Function] = [:]) { self.all = all }

    package func adding(_ more: [String: Function]) -> TemplateFunctions {
        TemplateFunctions(all.merging(more) { _, new in new })
    }
}

/// Templates that know each other by name. Immutable, so cheap and safe to share.
package final class TemplateSet: Sendable {
    /// Longest text that a rendering may yield, in bytes.
    static let maxOutput = 1 << 20
    /// Most actions that a rendering may take.
    static let maxSteps = 200_000
    static let maxDepth = 60

    let functions: TemplateFunctions
    let named: [String: [TemplateNode]]

    package convenience init(functions: TemplateFunctions) { self.init(functions, [:]) }

    private init(_ functions: TemplateFunctions, _ named: [String: [TemplateNode]]) {
        self.functions = functions
        self.named = named
    }

    /// The set with the templates that `text` defines; later definitions take the place of earlier ones.
    package func adding(name: String, text: String) throws(TemplateError) -> TemplateSet {
        let (body, defined) = try TemplateParser.parse(name: name, text: text)
        var named = named.merging(defined) { _, new in new }
        named[name] = body
        return TemplateSet(functions, named)
    }

    package func with(functions more: [String: TemplateFunctions.Function]) -> TemplateSet {
        TemplateSet(functions.adding(more), named)
    }

    package func has(_ name: String) -> Bool { named[name] != nil }

    /// Renders a text. In HTML every value is escaped unless it is HTML already.
    package func render(
        _ text: String, data: TemplateValue, html: Bool = false, name: String = "text"
    ) throws(TemplateError) -> String {
        // Most texts have no action at all.
        guard text.contains("{{") else { return text }
        let (body, defined) = try TemplateParser.parse(name: name, text: text)
        var evaluator = TemplateEvaluator(
            set: self, name: name, named: named.merging(defined) { _, new in new }, html: html, root: data)
        try evaluator.run(body, data)
        return evaluator.out
    }

    /// A text that was read, to be rendered many times.
    struct Parsed: Sendable {
        fileprivate let name: String
        fileprivate let body: [TemplateNode]
        fileprivate let defined: [String: [TemplateNode]]

        init(_ text: String, name: String) throws(TemplateError) {
            self.name = name
            (body, defined) = try TemplateParser.parse(name: name, text: text)
        }
    }

    func render(_ parsed: Parsed, data: TemplateValue) throws(TemplateError) -> String {
        var evaluator = TemplateEvaluator(
            set: self, name: parsed.name,
            named: parsed.defined.isEmpty ? named : named.merging(parsed.defined) { _, new in new }, html: false,
            root: data)
        try evaluator.run(parsed.body, data)
        return evaluator.out
    }

    /// The first template, by name, that calls itself whatever its data is, and so never ends; nil where there is none.
    func endless() -> TemplateError? {
        // Calls within a condition or a loop may not come to be.
        let calls = named.mapValues { nodes in
            nodes.compactMap { node -> (name: String, line: Int)? in
                if case .template(let called, _, let line) = node { (called, line) } else { nil }
            }
        }
        for start in named.keys.sorted() {
            for call in calls[start] ?? [] {
                var reached: Set<String> = []
                var open = [call.name]
                while let name = open.popLast() {
                    if name == start {
                        return TemplateError(
                            template: start, line: call.line,
                            message: "calls itself without a condition, so it never ends")
                    }
                    if reached.insert(name).inserted { open += (calls[name] ?? []).map(\.name) }
                }
            }
        }
        return nil
    }

    /// Checks a text's syntax and that it calls only what there is.
    package func check(_ text: String, name: String = "text") throws(TemplateError) {
        guard text.contains("{{") else { return }
        let (body, defined) = try TemplateParser.parse(name: name, text: text)
        for nodes in [body] + Array(defined.values) { try checkFunctions(nodes, name) }
    }

    private func checkFunctions(_ nodes: [TemplateNode], _ name: String) throws(TemplateError) {
        for node in nodes {
            switch node {
            case .action(let pipeline): try check(pipeline, name)
            case .condition(let pipeline, let a, let b), .loop(let pipeline, let a, let b),
                .with(let pipeline, let a, let b):
                try check(pipeline, name)
                try checkFunctions(a, name)
                try checkFunctions(b, name)
            case .template(_, let pipeline, _): if let pipeline { try check(pipeline, name) }
            case .text, .breakLoop, .continueLoop: break
            }
        }
    }

    private func check(_ pipeline: TemplatePipeline, _ name: String) throws(TemplateError) {
        for operand in pipeline.commands.joined() {
            switch operand {
            case .function(let word) where functions.all[word] == nil && builtins[word] == nil && !isLogic(word):
                throw TemplateError(
                    template: name, line: pipeline.line, message: "function \(quoteGo(word)) not defined")
            case .pipeline(let inner, _): try check(inner, name)
            default: break
            }
        }
    }
}

func isLogic(_ word: String) -> Bool { word == "and" || word == "or" }

/// Walks a template's nodes. One rendering, one thread.
struct TemplateEvaluator {
    private enum Flow { case on, breakLoop, continueLoop }

    let set: TemplateSet
    let name: String
    let named: [String: [TemplateNode]]
    let html: Bool
    private(set) var out = ""
    private var variables: [(name: String, value: TemplateValue)]
    private var steps = 0
    private var depth = 0

    init(set: TemplateSet, name: String, named: [String: [TemplateNode]], html: Bool, root: TemplateValue) {
        self.set = set
        self.name = name
        self.named = named
        self.html = html
        variables = [("$", root)]
    }

    private func fail(_ line: Int, _ message: String) -> TemplateError {
        TemplateError(template: name, line: line, message: message)
    }

    mutating func run(_ nodes: [TemplateNode], _ dot: TemplateValue) throws(TemplateError) {
        _ = try walk(nodes, dot)
    }

    /// Declares a variable for the whole rendering, as Prometheus does with `$labels` and `$value`.
    mutating func declare(_ name: String, _ value: TemplateValue) { variables.append((name, value)) }

    private mutating func walk(_ nodes: [TemplateNode], _ dot: TemplateValue) throws(TemplateError) -> Flow {
        let scope = variables.count
        defer { variables.removeLast(variables.count - scope) }
        for node in nodes {
            steps += 1
            if steps > TemplateSet.maxSteps { throw fail(0, "takes more than \(TemplateSet.maxSteps) steps") }
            switch node {
            case .text(let text): try emit(text, 0)
            case .action(let pipeline):
                let value = try evaluate(pipeline, dot)
                if !pipeline.variables.isEmpty { continue }
                if html, case .html(let text) = value {
                    try emit(text, pipeline.line)
                } else {
                    try emit(html ? escapeHTML(value.text) : value.text, pipeline.line)
                }
            case .condition(let pipeline, let then, let otherwise):
                let inner = variables.count
                let flow = try walk(try evaluate(pipeline, dot).isTrue ? then : otherwise, dot)
                variables.removeLast(variables.count - inner)
                if flow != .on { return flow }
            case .with(let pipeline, let then, let otherwise):
                let inner = variables.count
                let value = try evaluate(pipeline, dot)
                let flow = value.isTrue ? try walk(then, value) : try walk(otherwise, dot)
                variables.removeLast(variables.count - inner)
                if flow != .on { return flow }
            case .loop(let pipeline, let body, let otherwise): try loop(pipeline, body, otherwise, dot)
            case .template(let called, let pipeline, let line):
                let value = try pipeline.map { pipeline throws(TemplateError) in try evaluate(pipeline, dot) } ?? .none
                try call(called, value, line)
            case .breakLoop: return .breakLoop
            case .continueLoop: return .continueLoop
            }
        }
        return .on
    }

    private mutating func emit(_ text: String, _ line: Int) throws(TemplateError) {
        out += text
        if out.utf8.count > TemplateSet.maxOutput {
            throw fail(line, "yields more than \(TemplateSet.maxOutput) bytes")
        }
    }

    mutating func call(_ called: String, _ value: TemplateValue, _ line: Int) throws(TemplateError) {
        guard let body = named[called] else { throw fail(line, "template \(quoteGo(called)) not defined") }
        depth += 1
        defer { depth -= 1 }
        if depth > TemplateSet.maxDepth { throw fail(line, "exceeded maximum template depth") }
        let outer = variables
        variables = [("$", value)]
        defer { variables = outer }
        _ = try walk(body, value)
    }

    private mutating func loop(
        _ pipeline: TemplatePipeline, _ body: [TemplateNode], _ otherwise: [TemplateNode], _ dot: TemplateValue
    ) throws(TemplateError) {
        var silent = pipeline
        silent.variables = []
        let over = try evaluate(silent, dot)
        let elements: [(key: TemplateValue, value: TemplateValue)]
        switch over {
        case .none: elements = []
        case .list(let list): elements = list.enumerated().map { (.int($0), $1) }
        case .map(let map): elements = map.sorted { $0.key < $1.key }.map { (.string($0.key), $0.value) }
        case .int(let count): elements = (0..<max(0, min(count, 100_000))).map { (.int($0), .int($0)) }
        case .object(let object):
            guard let list = object.elements else { throw fail(pipeline.line, "range can't iterate over \(over.text)") }
            elements = list()
        default: throw fail(pipeline.line, "range can't iterate over \(over.text)")
        }
        if elements.isEmpty {
            _ = try walk(otherwise, dot)
            return
        }
        for (key, value) in elements {
            // An empty body has no steps of its own.
            steps += 1
            if steps > TemplateSet.maxSteps {
                throw fail(pipeline.line, "takes more than \(TemplateSet.maxSteps) steps")
            }
            let scope = variables.count
            switch pipeline.variables.count {
            case 1: bind(pipeline, 0, value)
            case 2:
                bind(pipeline, 0, key)
                bind(pipeline, 1, value)
            default: break
            }
            let flow = try walk(body, value)
            variables.removeLast(variables.count - scope)
            if flow == .breakLoop { break }
        }
    }

    private mutating func bind(_ pipeline: TemplatePipeline, _ index: Int, _ value: TemplateValue) {
        let name = pipeline.variables[index]
        if pipeline.assigns, let at = variables.lastIndex(where: { $0.name == name }) {
            variables[at].value = value
        } else {
            variables.append((name, value))
        }
    }

    private mutating func evaluate(_ pipeline: TemplatePipeline, _ dot: TemplateValue) throws(TemplateError)
        -> TemplateValue
    {
        var value: TemplateValue?
        for command in pipeline.commands { value = try evaluate(command, dot, piped: value, pipeline.line) }
        let result = value ?? .none
        if !pipeline.variables.isEmpty {
            if pipeline.assigns, !variables.contains(where: { $0.name == pipeline.variables[0] }) {
                throw fail(pipeline.line, "undefined variable \(quoteGo(pipeline.variables[0]))")
            }
            bind(pipeline, 0, result)
        }
        return result
    }

    private mutating func evaluate(
        _ command: [TemplateOperand], _ dot: TemplateValue, piped: TemplateValue?, _ line: Int
    ) throws(TemplateError) -> TemplateValue {
        steps += 1
        if steps > TemplateSet.maxSteps { throw fail(line, "takes more than \(TemplateSet.maxSteps) steps") }
        guard let first = command.first else { return .none }
        if case .function(let word) = first {
            if isLogic(word) { return try logic(word, command.dropFirst(), dot, piped, line) }
            var arguments: [TemplateValue] = []
            for operand in command.dropFirst() { arguments.append(try value(of: operand, dot, line)) }
            if let piped { arguments.append(piped) }
            guard let function = set.functions.all[word] ?? builtins[word] else {
                throw fail(line, "function \(quoteGo(word)) not defined")
            }
            do {
                return try function(arguments)
            } catch let problem as TemplateProblem {
                throw fail(line, "error calling \(word): \(problem.message)")
            } catch {
                throw fail(line, "error calling \(word): \(error)")
            }
        }
        var arguments: [TemplateValue] = []
        for operand in command.dropFirst() { arguments.append(try value(of: operand, dot, line)) }
        if let piped { arguments.append(piped) }
        return try value(of: first, dot, line, arguments: arguments)
    }

    private mutating func logic(
        _ word: String, _ operands: ArraySlice<TemplateOperand>, _ dot: TemplateValue, _ piped: TemplateValue?,
        _ line: Int
    ) throws(TemplateError) -> TemplateValue {
        var last: TemplateValue = .none
        for operand in operands {
            last = try value(of: operand, dot, line)
            if last.isTrue == (word == "or") { return last }
        }
        return piped ?? last
    }

    private mutating func value(
        of operand: TemplateOperand, _ dot: TemplateValue, _ line: Int, arguments: [TemplateValue] = []
    ) throws(TemplateError) -> TemplateValue {
        switch operand {
        case .dot: return dot
        case .null: return .none
        case .string(let text): return .string(text)
        case .int(let number): return .int(number)
        case .float(let number): return .float(number)
        case .bool(let flag): return .bool(flag)
        case .field(let names): return try fields(names, of: dot, line, arguments)
        case .variable(let word, let names):
            guard let found = variables.last(where: { $0.name == word }) else {
                throw fail(line, "undefined variable \(quoteGo(word))")
            }
            return try fields(names, of: found.value, line, arguments)
        case .pipeline(let inner, let names): return try fields(names, of: try evaluate(inner, dot), line, arguments)
        case .function: return try evaluate([operand], dot, piped: nil, line)
        }
    }

    private func fields(
        _ names: [String], of start: TemplateValue, _ line: Int, _ arguments: [TemplateValue]
    ) throws(TemplateError) -> TemplateValue {
        var value = start
        for (index, word) in names.enumerated() {
            let given = index == names.count - 1 ? arguments : []
            switch value {
            case .map(let map): value = map[word] ?? .string("")
            case .object(let object):
                do {
                    guard let found = try object.member(word, given) else {
                        throw TemplateProblem("can't evaluate field \(word) in type \(object.kind)")
                    }
                    value = found
                } catch let problem as TemplateProblem {
                    throw fail(line, problem.message)
                } catch {
                    throw fail(line, "\(error)")
                }
            case .time(let milliseconds, let zone):
                guard let found = timeMember(word, given, milliseconds, zone) else {
                    throw fail(line, "can't evaluate field \(word) in type time.Time")
                }
                value = found
            case .none: throw fail(line, "nil data; no entry for key \(quoteGo(word))")
            default: throw fail(line, "can't evaluate field \(word) in type \(value.kind)")
            }
        }
        return value
    }
}

/// What the function `html` gives; texts of HTML pages are escaped by `escapeHTML`, which takes `+` too, as in Go.
func htmlEscaped(_ text: String) -> String {
    var out = ""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "<": out += "&lt;"
        case ">": out += "&gt;"
        case "&": out += "&amp;"
        case "\"": out += "&#34;"
        case "'": out += "&#39;"
        case "\u{0}": out += "\u{fffd}"
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out
}
