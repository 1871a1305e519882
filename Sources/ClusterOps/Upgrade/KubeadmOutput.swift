import FoundationEssentials

/// What kubeadm prints, read with patience: warnings around its JSON, tables that changed between versions, or nothing at all.
package enum KubeadmOutput {
    /// One component in `kubeadm upgrade plan`.
    package struct Component: Sendable, Hashable, Codable {
        package var name: String
        package var current: String
        package var new: String
        /// Empty where it is not a node's own.
        package var node: String
    }

    /// One upgrade that kubeadm offers.
    package struct Offer: Sendable, Hashable, Codable {
        /// `version in the v1.31 series`
        package var description: String
        package var components: [Component]
    }

    /// `kubeadm version -o short` or the like; nil where no version is in it.
    package static func version(_ output: String) -> KubernetesVersion? {
        for word in output.split(whereSeparator: { $0.isWhitespace || $0 == "\"" || $0 == "," }) {
            if word.hasPrefix("v"), let version = KubernetesVersion(word) { return version }
        }
        return nil
    }

    /// The offers of `kubeadm upgrade plan -o json`, whatever is printed around the JSON. Nil where there is no JSON in it;
    /// an empty output offers nothing.
    package static func planJSON(_ output: String) -> [Offer]? {
        if output.allSatisfy(\.isWhitespace) { return [] }
        guard let body = jsonObject(in: output) else { return nil }
        struct Plan: Decodable {
            struct Upgrade: Decodable {
                struct Part: Decodable {
                    var name: String
                    var currentVersion: String?
                    var newVersion: String?
                    var nodeName: String?
                }
                var description: String?
                var components: [Part]?
            }
            var availableUpgrades: [Upgrade]?
            // v1alpha2 had one list without offers around it.
            var components: [Upgrade.Part]?
        }
        guard let plan = try? JSONDecoder().decode(Plan.self, from: Data(body.utf8)) else { return nil }
        func components(_ parts: [Plan.Upgrade.Part]?) -> [Component] {
            (parts ?? []).map {
                Component(
                    name: $0.name, current: $0.currentVersion ?? "", new: $0.newVersion ?? "", node: $0.nodeName ?? "")
            }
        }
        var offers = (plan.availableUpgrades ?? []).map {
            Offer(description: $0.description ?? "", components: components($0.components))
        }
        if let flat = plan.components { offers.append(Offer(description: "", components: components(flat))) }
        return offers
    }

    /// The outermost `{ … }` that stands at the beginning of a line.
    static func jsonObject(in text: String) -> String? {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard let first = lines.firstIndex(where: { $0.hasPrefix("{") }),
            let last = lines.lastIndex(where: { $0.hasPrefix("}") || ($0.hasPrefix("{") && $0.hasSuffix("}")) }),
            first <= last
        else { return nil }
        return lines[first...last].joined(separator: "\n")
    }

    /// The offers of the table that `kubeadm upgrade plan` prints: columns COMPONENT, CURRENT and AVAILABLE before 1.28, with
    /// NODE and TARGET since.
    package static func planText(_ output: String) -> [Offer] {
        var offers: [Offer] = []
        var kubelets: [Component] = []
        var columns: [String] = []
        var isManual = false
        for line in output.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("Upgrade to the latest ") {
                var text = line.dropFirst("Upgrade to the latest ".count)
                while text.last == ":" || text.last == " " { text = text.dropLast() }
                offers.append(Offer(description: String(text), components: kubelets))
                columns = []
                isManual = false
                continue
            }
            if line.hasPrefix("Components that must be upgraded manually") {
                kubelets = []
                columns = []
                isManual = true
                continue
            }
            if line.hasPrefix("COMPONENT ") {
                columns = line.split(separator: " ").map(String.init)
                continue
            }
            if line.isEmpty || line.hasPrefix("_____") {
                // An empty line stands between a heading and its table, too.
                if !columns.isEmpty { columns = [] }
                continue
            }
            guard !columns.isEmpty, let component = row(line, columns) else { continue }
            if isManual {
                kubelets.append(component)
            } else if !offers.isEmpty {
                offers[offers.count - 1].components.append(component)
            }
        }
        return offers
    }

    private static func row(_ line: Substring, _ columns: [String]) -> Component? {
        // Cells are two spaces or more apart: "2 x v1.20.2" is one.
        var cells: [String] = []
        var cell = ""
        var spaces = 0
        for character in line {
            if character == " " {
                spaces += 1
                continue
            }
            if spaces >= 2, !cell.isEmpty {
                cells.append(cell)
                cell = ""
            } else if spaces == 1 {
                cell += " "
            }
            spaces = 0
            cell.append(character)
        }
        if !cell.isEmpty { cells.append(cell) }
        let hasNode = columns.contains("NODE")
        switch (cells.count, hasNode) {
        case (3, false): return Component(name: cells[0], current: cells[1], new: cells[2], node: "")
        case (4, true): return Component(name: cells[0], current: cells[2], new: cells[3], node: cells[1])
        case (3, true): return Component(name: cells[0], current: cells[1], new: cells[2], node: "")
        default: return nil
        }
    }

    /// What kubeadm complained of: its errors and warnings of the preflight, without the log's prefix.
    package static func complaints(_ text: String) -> [String] {
        text.split(separator: "\n").compactMap { line in
            let line = line.drop { $0 == " " || $0 == "\t" }
            return line.hasPrefix("[ERROR ") || line.hasPrefix("[WARNING ") || line.hasPrefix("error: ")
                || line.hasPrefix("- Specified") ? String(line) : nil
        }
    }
}
