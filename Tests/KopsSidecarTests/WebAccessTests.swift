import Logging
import Platform
import TestSupport
import Testing

@testable import KopsSidecar

/// Who may ask, as files say that change under a running server.
@Suite struct WebAccessTests {
    private let directory: String
    private let log: Logger

    init() throws {
        directory = try scratchDirectory()
        var log = Logger(label: "test")
        log.logLevel = .critical
        self.log = log
    }

    private func write(_ text: String, _ name: String) throws -> String {
        try AtomicFile.write(Array(text.utf8), to: "\(directory)/\(name)")
        return "\(directory)/\(name)"
    }

    @Test func anEmptyTokenFileLetsNobodyIn() throws {
        defer { try? FileSystem.removeTree(directory) }
        var http = HTTPConfig()
        http.tokenFiles = [try write(" \n", "token")]
        #expect(throws: (any Error).self) { try WebAccess(http, log: log) }
        _ = try write("secret\n", "token")
        let access = try WebAccess(http, log: log)
        #expect(access.security.tokens == ["secret"])
        _ = try write("another\n", "token")
        access.refresh()
        #expect(access.security.tokens == ["another"])
        // Emptied or gone while it runs: what was known holds.
        _ = try write("", "token")
        access.refresh()
        #expect(access.security.tokens == ["another"])
        try FileSystem.removeFile("\(directory)/token")
        access.refresh()
        #expect(access.security.tokens == ["another"])
    }

    @Test func authenticationIsNotTakenAwayWhereEverybodyCanConnect() throws {
        defer { try? FileSystem.removeTree(directory) }
        let users = "basic_auth_users: {ada: $2b$04$iqhfvV8I5eoHapbJRoE9UuKmwwYHJjoO2JX8MHf5eg3o4MqoGO1Mq}\n"
        var http = HTTPConfig()
        http.host = "0.0.0.0"
        http.webConfigFile = try write(users, "web.yaml")
        http.web = try loadWebConfig(http.webConfigFile ?? "")
        let access = try WebAccess(http, log: log)
        #expect(!access.security.isOpen)
        for text in ["", "basic_auth_users: {}\n", "basic_auth_user: {a: b}\n", "not: [yaml"] {
            _ = try write(text, "web.yaml")
            access.refresh()
            #expect(!access.security.isOpen, "\(text)")
        }
        _ = try write(users + "http_server_config: {headers: {X-Frame-Options: deny}}\n", "web.yaml")
        access.refresh()
        #expect(access.security.headers == ["X-Frame-Options": "deny"])
        http.host = "127.0.0.1"
        let local = try WebAccess(http, log: log)
        _ = try write("basic_auth_users: {}\n", "web.yaml")
        local.refresh()
        #expect(local.security.isOpen)
    }
}
