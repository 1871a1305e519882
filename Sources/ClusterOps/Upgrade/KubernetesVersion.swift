/// A version of Kubernetes such as `v1.31.4`.
package struct KubernetesVersion: Sendable, Hashable, Comparable, Codable, CustomStringConvertible {
    package var major: Int
    package var minor: Int
    package var patch: Int
    /// `rc.1` of `v1.31.0-rc.1`; empty for a release.
    package var preRelease: String

    package init(_ major: Int, _ minor: Int, _ patch: Int, preRelease: String = "") {
        self.major = major
        self.minor = minor
        self.patch = patch
        self.preRelease = preRelease
    }

    /// From `v1.31.4`, `1.31.4`, `v1.31.0-rc.1` or `v1.31.4+vendor`. Nil where it is none.
    package init?(_ text: some StringProtocol) {
        var text = Substring(text)
        if text.hasPrefix("v") { text = text.dropFirst() }
        if let plus = text.firstIndex(of: "+") { text = text[..<plus] }
        let parts = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first else { return nil }
        let numbers = first.split(separator: ".", omittingEmptySubsequences: false).map { part in
            part.utf8.allSatisfy { (48...57).contains($0) } ? Int(part) : nil
        }
        guard numbers.count == 3, let major = numbers[0], let minor = numbers[1], let patch = numbers[2] else {
            return nil
        }
        if parts.count == 2, parts[1].isEmpty { return nil }
        self.init(major, minor, patch, preRelease: parts.count == 2 ? String(parts[1]) : "")
    }

    package var description: String {
        "v\(major).\(minor).\(patch)" + (preRelease.isEmpty ? "" : "-" + preRelease)
    }

    /// Without the `v`, as package managers write it.
    package var plain: String { String(description.dropFirst()) }

    package static func < (a: Self, b: Self) -> Bool {
        if (a.major, a.minor, a.patch) != (b.major, b.minor, b.patch) {
            return (a.major, a.minor, a.patch) < (b.major, b.minor, b.patch)
        }
        // A pre-release comes before its release; two of them in the order of their texts, which holds up to rc.9.
        if a.preRelease.isEmpty || b.preRelease.isEmpty { return !a.preRelease.isEmpty && b.preRelease.isEmpty }
        return a.preRelease < b.preRelease
    }

    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let version = KubernetesVersion(text) else {
            throw DecodingError.dataCorrupted(
                DecodingError.Context(codingPath: decoder.codingPath, debugDescription: "\(text) is no version"))
        }
        self = version
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
