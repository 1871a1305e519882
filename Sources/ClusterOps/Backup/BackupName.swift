import Platform

/// The name all files of a backup begin with: `etcd-<cluster>-<UTC time>-r<revision>`, the time as `20261124T104810Z`.
package struct BackupName: Sendable, Hashable, Comparable, CustomStringConvertible {
    package var cluster: String
    /// Milliseconds since 1970 UTC, whole seconds.
    package var time: Int64
    package var revision: Int64
    /// 1, or more where a name was taken.
    package var number = 1

    package init(cluster: String, time: Int64, revision: Int64, number: Int = 1) {
        self.cluster = BackupName.clean(cluster)
        self.time = time / 1000 * 1000
        self.revision = revision
        self.number = number
    }

    package init?(_ text: String) {
        var rest = text[...]
        guard rest.hasPrefix("etcd-") else { return nil }
        rest = rest.dropFirst(5)
        guard let mark = rest.lastIndex(of: "r"), mark > rest.startIndex, rest[rest.index(before: mark)] == "-" else {
            return nil
        }
        let tail = rest[rest.index(after: mark)...].split(separator: "-", omittingEmptySubsequences: false)
        guard let first = tail.first, let revision = Int64(first), revision >= 0, tail.count <= 2 else { return nil }
        if tail.count == 2 {
            guard let number = Int(tail[1]), number > 1 else { return nil }
            self.number = number
        }
        rest = rest[..<rest.index(before: mark)]
        guard let dash = rest.lastIndex(of: "-"), let time = BackupName.time(rest[rest.index(after: dash)...]) else {
            return nil
        }
        cluster = String(rest[..<dash])
        guard !cluster.isEmpty, BackupName.clean(cluster) == cluster else { return nil }
        self.time = time
        self.revision = revision
    }

    package var description: String {
        "etcd-\(cluster)-\(BackupName.stamp(time))-r\(revision)" + (number > 1 ? "-\(number)" : "")
    }

    package static func < (a: BackupName, b: BackupName) -> Bool {
        (a.time, a.revision, a.number, a.cluster) < (b.time, b.revision, b.number, b.cluster)
    }

    /// Letters, digits, dot, dash and underscore stay; all else becomes a dash.
    package static func clean(_ cluster: String) -> String {
        let text = String(
            cluster.unicodeScalars.prefix(100).map { c in
                let fine =
                    ("a"..."z").contains(c) || ("A"..."Z").contains(c) || ("0"..."9").contains(c) || c == "."
                    || c == "_" || c == "-"
                return fine ? Character(c) : "-"
            })
        return text.isEmpty || text.hasPrefix(".") ? "cluster" : text
    }

    private static func stamp(_ time: Int64) -> String {
        String(formatRFC3339(time, fraction: false).filter { $0 != "-" && $0 != ":" })
    }

    private static func time(_ text: Substring) -> Int64? {
        let bytes = Array(text.utf8)
        guard bytes.count == 16, bytes[8] == UInt8(ascii: "T"), bytes[15] == UInt8(ascii: "Z") else { return nil }
        func number(_ range: Range<Int>) -> Int64? {
            var value: Int64 = 0
            for byte in bytes[range] {
                guard byte >= 48, byte <= 57 else { return nil }
                value = value * 10 + Int64(byte - 48)
            }
            return value
        }
        guard let year = number(0..<4), let month = number(4..<6), (1...12).contains(month), let day = number(6..<8),
            (1...31).contains(day), let hour = number(9..<11), hour < 24, let minute = number(11..<13), minute < 60,
            let second = number(13..<15), second < 61
        else { return nil }
        return daysSinceEpoch(year: year, month: month, day: day) * 86_400_000
            + ((hour * 60 + minute) * 60 + second) * 1000
    }
}
