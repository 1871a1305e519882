import GRDBSQLite

/// SQLite's own words for a call that failed.
struct SQLiteError: Error, Sendable, CustomStringConvertible {
    let code: Int32
    let message: String
    let path: String

    var description: String { "\(path): \(message)" }

    /// The file is not what it should be: damaged, cut off or of another kind.
    var isDamage: Bool { [SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_FORMAT].contains(code & 0xff) }
    /// Damaged, or a database of something else, whose tables are not those that are asked for.
    var isForeign: Bool { isDamage || code & 0xff == SQLITE_ERROR }
    /// It may work again once there is room or the disk answers.
    var isDiskTrouble: Bool { [SQLITE_FULL, SQLITE_IOERR, SQLITE_READONLY, SQLITE_CANTOPEN].contains(code & 0xff) }
}

/// A connection to one SQLite file with its prepared statements, over the C interface: rows here are few and large, and
/// their blobs are read in place. Used by one thread at a time.
final class SQLiteFile {
    let path: String
    /// What its owner knows it by, whatever file has the path by now.
    var identity: String?
    private var handle: OpaquePointer?
    private var statements: [String: OpaquePointer] = [:]

    enum Mode { case readWrite, readOnly }

    init(_ path: String, _ mode: Mode) throws(SQLiteError) {
        self.path = path
        try open(mode)
        // A kill while the file was made leaves SQLite's journal, which only a connection that may write can undo.
        guard mode == .readOnly, sqlite3_exec(handle, "PRAGMA schema_version", nil, nil, nil) & 0xff == SQLITE_READONLY
        else { return }
        close()
        try open(.readWrite)
        sqlite3_exec(handle, "PRAGMA schema_version", nil, nil, nil)
        close()
        try open(mode)
    }

    private func open(_ mode: Mode) throws(SQLiteError) {
        let flags =
            mode == .readWrite
            ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
            : SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX
        let code = sqlite3_open_v2(path, &handle, flags, nil)
        guard code == SQLITE_OK else {
            let error = SQLiteError(code: code, message: String(cString: sqlite3_errstr(code)), path: path)
            sqlite3_close_v2(handle)
            handle = nil
            throw error
        }
        sqlite3_extended_result_codes(handle, 1)
        sqlite3_busy_timeout(handle, 10_000)
    }

    deinit { close() }

    func close() {
        for statement in statements.values { sqlite3_finalize(statement) }
        statements = [:]
        sqlite3_close_v2(handle)
        handle = nil
    }

    /// Leaves the WAL file where it is when this connection is the last to close.
    func keepCompanion() {
        var on: Int32 = 1
        sqlite3_file_control(handle, nil, SQLITE_FCNTL_PERSIST_WAL, &on)
    }

    private func failure(_ code: Int32) -> SQLiteError {
        let message = handle.map { String(cString: sqlite3_errmsg($0)) } ?? String(cString: sqlite3_errstr(code))
        return SQLiteError(code: code, message: message, path: path)
    }

    func execute(_ sql: String) throws(SQLiteError) {
        let code = sqlite3_exec(handle, sql, nil, nil, nil)
        guard code == SQLITE_OK else { throw failure(code) }
    }

    func hasTables() throws(SQLiteError) -> Bool {
        let statement = try prepared("SELECT count(*) FROM sqlite_master")
        defer { sqlite3_reset(statement) }
        guard sqlite3_step(statement) == SQLITE_ROW else { throw failure(sqlite3_errcode(handle)) }
        return Row(statement: statement).int(0) > 0
    }

    /// Runs `body` in a transaction of the kind that takes the write lock at once; rolls back where it throws.
    func transaction<R>(_ body: () throws -> R) throws -> R {
        try execute("BEGIN IMMEDIATE")
        do {
            let result = try body()
            try execute("COMMIT")
            return result
        } catch {
            try? execute("ROLLBACK")
            throw error
        }
    }

    enum Value {
        case int(Int64)
        case text(String)
        case blob([UInt8])
        case null
    }

    /// Runs a statement with its values; `row` is called for each row and ends the walk by returning false.
    func run(_ sql: String, _ values: [Value] = [], row: (Row) throws -> Bool = { _ in true }) throws {
        let statement = try prepared(sql)
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (index, value) in values.enumerated() {
            let at = Int32(index + 1)
            let code: Int32
            switch value {
            case .int(let number): code = sqlite3_bind_int64(statement, at, number)
            case .text(let text): code = sqlite3_bind_text(statement, at, text, -1, transient)
            case .blob(let bytes):
                code = bytes.withUnsafeBytes {
                    sqlite3_bind_blob64(statement, at, $0.baseAddress, UInt64($0.count), transient)
                }
            case .null: code = sqlite3_bind_null(statement, at)
            }
            guard code == SQLITE_OK else { throw failure(code) }
        }
        while true {
            let code = sqlite3_step(statement)
            if code == SQLITE_DONE { return }
            guard code == SQLITE_ROW else { throw failure(code) }
            if try !row(Row(statement: statement)) { return }
        }
    }

    private func prepared(_ sql: String) throws(SQLiteError) -> OpaquePointer {
        if let statement = statements[sql] { return statement }
        var statement: OpaquePointer?
        let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard code == SQLITE_OK, let statement else { throw failure(code) }
        statements[sql] = statement
        return statement
    }

    /// The row a statement stands at; valid during the call that hands it out.
    struct Row {
        fileprivate let statement: OpaquePointer

        func int(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }

        func isNull(_ column: Int32) -> Bool { sqlite3_column_type(statement, column) == SQLITE_NULL }

        func text(_ column: Int32) -> String {
            guard let bytes = sqlite3_column_text(statement, column) else { return "" }
            let count = Int(sqlite3_column_bytes(statement, column))
            return String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
        }

        /// The blob's bytes in SQLite's own memory.
        func blob<R>(_ column: Int32, _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
            let start = sqlite3_column_blob(statement, column)
            let count = Int(sqlite3_column_bytes(statement, column))
            return try body(UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : count))
        }
    }
}

/// SQLite copies what is bound.
private let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
