/// A SQLite file and those that SQLite keeps beside it, as files: what is done with them while nobody has them open.
package enum SQLiteFileSet {
    private static let companions = ["-wal", "-shm", "-journal"]

    /// Shorter than SQLite's header and without a WAL file: SQLite itself would take it for a new one.
    package static func isCutOff(_ path: String) -> Bool {
        func size(_ path: String) -> Int64 { ((try? FileSystem.status(path)) ?? nil)?.size ?? 0 }
        return (1..<100).contains(size(path)) && size(path + "-wal") == 0
    }

    /// Renames what is damaged to `<path>.damaged-<milliseconds>`, the file itself last; gives that name. Those that cannot be
    /// renamed stay, and the first reason is thrown in the end.
    @discardableResult
    package static func setAside(_ path: String, now: Int64) throws(FileError) -> String {
        let aside = "\(path).damaged-\(now)"
        var problem: FileError?
        for suffix in companions + [""] where FileSystem.exists(path + suffix) {
            do { try FileSystem.rename(path + suffix, to: aside + suffix) } catch { problem = problem ?? error }
        }
        if let problem { throw problem }
        return aside
    }

    package static func remove(_ path: String) {
        for suffix in companions + [""] { try? FileSystem.removeFile(path + suffix) }
    }
}
