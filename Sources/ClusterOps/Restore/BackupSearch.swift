import Platform

/// What a search for a backup came upon: the one to use, and what else lies there.
struct BackupSearch: Sendable {
    /// A backup as it lies at one place, with all that lie there.
    struct Hit: Sendable {
        var entry: BackupEntry
        var place: any Destination
        var all: [BackupEntry]
    }

    var source: SnapshotSource
    /// Where files that are not here are brought to.
    var fetchInto: String
    /// The good ones that were asked for, the newest first, of equals the nearest; the first was chosen. Empty for a file.
    var good: [Hit] = []
    /// All of the same cluster at the places that were looked at, whole or not.
    var known: [Hit] = []

    static func isBefore(_ a: Hit, _ b: Hit) -> Bool {
        if a.entry.name != b.entry.name { return a.entry.name > b.entry.name }
        return a.place is LocalDestination && !(b.place is LocalDestination)
    }

    /// As `known`; of a file what lies beside it.
    func neighbours() async -> [Hit] {
        guard known.isEmpty, let part = source.parts.last, let manifest = part.manifest, part.destination == nil else {
            return known
        }
        let directory = FileSystem.parent(of: part.path)
        let place = LocalDestination(name: directory, path: directory)
        let all = (try? await BackupCatalogue.read(place, cluster: manifest.cluster)) ?? []
        return all.map { Hit(entry: $0, place: place, all: all) }
    }
}

/// How much later or earlier something is, for people.
func span(milliseconds: Int64) -> String {
    let seconds = abs(milliseconds) / 1000
    switch seconds {
    case ..<120: return "\(seconds) s"
    case ..<7200: return "\(seconds / 60) min"
    case ..<172_800: return "\(seconds / 3600) h"
    default: return "\(seconds / 86_400) days"
    }
}
