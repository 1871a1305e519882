import Glibc
import Platform
import TestSupport
import Testing

/// The sidecar's own port over TLS, with openssl's certificates, asked by curl and by the command line.
private final class SecuredSidecar {
    let directory: String
    let port: Int
    var program: Program?

    init(web: String) throws {
        directory = try scratch()
        port = try freePorts(1)[0]
        let made = try ChildProgram.run(root + "/scripts/make-pki", [directory + "/pki"])
        guard made.status == 0 else { throw TestProblem(made.output) }
        try write(web, "web.yaml")
        try write(
            """
            http: {listen: "127.0.0.1:\(port)", web_config_file: web.yaml}
            storage: {path: \(directory)/data}
            """, "kops-sidecar.yaml")
    }

    deinit {
        program?.stop(SIGKILL)
        try? FileSystem.removeTree(directory)
    }

    var url: String { "https://127.0.0.1:\(port)" }
    var config: String { directory + "/kops-sidecar.yaml" }

    func write(_ text: String, _ name: String) throws {
        try AtomicFile.write(Array(text.utf8), to: "\(directory)/\(name)")
    }

    func start() async throws {
        let program = try Program([binary, "run", "--config", config], log: directory + "/log")
        self.program = program
        try await eventually("it listens") {
            if let status = program.exitStatus { throw TestProblem("it ended with \(status): \(program.text)") }
            return program.text.contains("msg=listening")
        }
    }

    /// curl's output and status; `arguments` come before the URL.
    func curl(_ arguments: String, _ path: String = "/-/ready") async throws -> (status: Int32, output: String) {
        try await shell("cd \(directory)/pki && curl -sS --max-time 20 \(arguments) '\(url)\(path)'")
    }

    func command(_ arguments: String) async throws -> (status: Int32, output: String) {
        try await shell("cd \(directory)/pki && \(binary) \(arguments)")
    }
}

private let client = "--cert healthcheck-client.crt --key healthcheck-client.key"

@Suite(
    .serialized, .enabled(if: isInstalled("curl", "openssl"), "curl and openssl must be installed: scripts/deps test"))
struct ServerTLSTests {
    @Test func passwordsHeadersAndVersions() async throws {
        let sidecar = try SecuredSidecar(
            web: """
                tls_server_config: {cert_file: pki/server.crt, key_file: pki/server.key, min_version: TLS13}
                basic_auth_users: {ada: $2b$04$iqhfvV8I5eoHapbJRoE9UuKmwwYHJjoO2JX8MHf5eg3o4MqoGO1Mq}
                http_server_config: {headers: {Strict-Transport-Security: max-age=60}}
                """)
        try await sidecar.start()
        let known = "--cacert ca.crt -u ada:geheim"
        let ready = try await sidecar.curl("\(known) -D -")
        #expect(ready.status == 0 && ready.output.contains("kops-sidecar is ready."), "\(ready.output)")
        #expect(ready.output.contains("Strict-Transport-Security: max-age=60"))
        #expect(try await sidecar.curl("--cacert ca.crt -o /dev/null -w '%{http_code}'").output == "401")
        #expect(try await sidecar.curl("-u ada:geheim").status == 60, "curl must not trust it by itself")
        #expect(try await sidecar.curl("\(known) --tls-max 1.2").status != 0, "TLS 1.2 is below min_version")
        #expect(
            try await shell("curl -sS http://127.0.0.1:\(sidecar.port)/-/ready").status != 0,
            "nothing goes in the clear")
        // A body of many TLS records, both ways.
        let labels = (0..<2000).map { "match[]=up\($0)" }.joined(separator: "&")
        let posted = try await shell(
            "cd \(sidecar.directory)/pki && printf '%s' '\(labels)' | curl -sS \(known) --data-binary @- "
                + "--compressed \(sidecar.url)/api/v1/series")
        #expect(posted.output.contains(#"{"status":"success""#), "\(posted.output.prefix(300))")

        try sidecar.write("ada:geheim\n", "password")
        let listed = try await sidecar.command(
            "alerts --url \(sidecar.url) --ca-file ca.crt --credentials-file ../password --output json")
        #expect(listed.status == 0, "\(listed.output)")
        let untrusting = try await sidecar.command("alerts --url \(sidecar.url) --credentials-file ../password")
        #expect(untrusting.status == 1 && untrusting.output.contains("certificate"), "\(untrusting.output)")
        let nobody = try await sidecar.command("alerts --url \(sidecar.url) --ca-file ca.crt")
        #expect(nobody.status == 1 && nobody.output.contains("401"), "\(nobody.output)")
    }

    @Test func clientCertificatesAreAskedForAndNewFilesAreTaken() async throws {
        func web(_ auth: String) -> String {
            """
            tls_server_config: {cert_file: pki/server.crt, key_file: pki/server.key, \(auth)}
            """
        }
        let verified = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: pki/ca.crt"
        let sidecar = try SecuredSidecar(web: web(verified))
        // Certificates are authentication enough to listen wider: checked by the start alone.
        try await sidecar.start()
        #expect(try await sidecar.curl("--cacert ca.crt").status != 0)
        #expect(try await sidecar.curl("--cacert ca.crt \(client)").output == "kops-sidecar is ready.\n")
        let listed = try await sidecar.command(
            "alerts --url \(sidecar.url) --ca-file ca.crt --client-cert-file healthcheck-client.crt "
                + "--client-key-file healthcheck-client.key")
        #expect(listed.status == 0, "\(listed.output)")
        let half = try await sidecar.command("alerts --url \(sidecar.url) --client-cert-file healthcheck-client.crt")
        #expect(half.status == 2 && half.output.contains("--client-key-file"), "\(half.output)")

        // A certificate that somebody else signed is not one.
        let strangers = try await shell("\(root)/scripts/make-pki \(sidecar.directory)/strangers")
        #expect(strangers.status == 0)
        let foreign = "--cert ../strangers/healthcheck-client.crt --key ../strangers/healthcheck-client.key"
        #expect(try await sidecar.curl("--cacert ca.crt \(foreign)").status != 0)

        // Names: those of make-pki's client certificate are localhost and loopback addresses.
        try sidecar.write(web(verified + ", client_allowed_sans: [ops.example.org]"), "web.yaml")
        try await eventually("the names are asked for") {
            try await sidecar.curl("--cacert ca.crt \(client)").status != 0
        }
        try sidecar.write(web(verified + ", client_allowed_sans: [ops.example.org, 127.0.0.1]"), "web.yaml")
        try await eventually("one of them is enough") {
            try await sidecar.curl("--cacert ca.crt \(client)").status == 0
        }

        // Any certificate at all, none, or one that is verified if it is shown.
        try sidecar.write(web("client_auth_type: RequireAnyClientCert"), "web.yaml")
        try await eventually("any is enough") { try await sidecar.curl("--cacert ca.crt \(foreign)").status == 0 }
        #expect(try await sidecar.curl("--cacert ca.crt").status != 0)
        try sidecar.write(web("client_auth_type: VerifyClientCertIfGiven, client_ca_file: pki/ca.crt"), "web.yaml")
        try await eventually("none is enough") { try await sidecar.curl("--cacert ca.crt").status == 0 }
        #expect(try await sidecar.curl("--cacert ca.crt \(foreign)").status != 0)

        // A renewed certificate is served without a restart; one that does not fit its key is not taken.
        let before = try ServedCertificate.read(host: "127.0.0.1", port: UInt16(sidecar.port)).serial
        let pki = sidecar.directory + "/pki"
        let renewed = try await shell(
            "cd \(pki) && cp server.crt old.crt && rm server.crt server.key && \(root)/scripts/make-pki \(pki)")
        #expect(renewed.status == 0, "\(renewed.output)")
        try await eventually("the new one is served") {
            try ServedCertificate.read(host: "127.0.0.1", port: UInt16(sidecar.port)).serial != before
        }
        let now = try ServedCertificate.read(host: "127.0.0.1", port: UInt16(sidecar.port)).serial
        #expect(try await shell("cd \(pki) && cp old.crt server.crt").status == 0)
        try await eventually("the log tells") {
            sidecar.program?.text.contains("server.key is not the private key of the certificate in") == true
        }
        #expect(try ServedCertificate.read(host: "127.0.0.1", port: UInt16(sidecar.port)).serial == now)
        // Nor is TLS turned off while it runs.
        try sidecar.write("basic_auth_users: {}\n", "web.yaml")
        try await eventually("the log tells that too") { sidecar.program?.text.contains("restart the service") == true }
        #expect(try await sidecar.curl("--cacert old.crt -k").status == 0)
    }

    @Test func whatCannotWorkIsOneClearLine() async throws {
        let sidecar = try SecuredSidecar(web: "")
        let files = "cert_file: pki/server.crt, key_file: pki/server.key"
        for (web, line) in [
            ("{cert_file: pki/server.crt}", ":1:20: tls_server_config lacks key_file"),
            ("{cert_file: pki/server.crt, key_file: pki/nope.key}", "nope.key: No such file"),
            ("{cert_file: pki/ca.key, key_file: pki/server.key}", "ca.key holds no PEM certificate"),
            ("{cert_file: pki/server.crt, key_file: pki/peer.key}", "is not the private key of the certificate"),
            ("{\(files), cert: x}", "at most one of cert and cert_file"),
            ("{\(files), client_ca_file: pki/ca.crt}", "client_ca_file needs a client_auth_type"),
            ("{\(files), client_auth_type: RequireAndVerifyClientCert}", "needs client_ca_file"),
            ("{\(files), client_auth_type: Always}", "client_auth_type must be"),
            ("{\(files), min_version: TLS13, max_version: TLS12}", "min_version is above max_version"),
            ("{\(files), cipher_suites: [TLS_NONE]}", "\"TLS_NONE\" is not offered"),
            ("{\(files), client_allowed_sans: [a]}", "needs client_auth_type RequireAndVerifyClientCert"),
            ("{\(files), keyfile: a}", "did you mean key_file?"),
        ] {
            try sidecar.write("tls_server_config: \(web)\n", "web.yaml")
            let checked = try await shell("\(binary) check config \(sidecar.config)")
            #expect(checked.status == 2 && checked.output.contains(line), "\(web): \(checked.output)")
            #expect(checked.output.split(separator: "\n").count == 1, "\(web): \(checked.output)")
        }
        try sidecar.write("http_server_config: {headers: {Server: x}}\n", "web.yaml")
        #expect(
            try await shell("\(binary) check config \(sidecar.config)").output.contains("headers.Server cannot be set"))
    }
}
