import ArgumentParser
import FoundationEssentials
import KopsSidecar
import MetricModel
import Platform

/// What it takes to be let in by a server: credentials and certificates.
struct CredentialOptions: ParsableArguments {
    @Option(help: "A file that holds USER:PASSWORD or a bearer token for it.")
    var credentialsFile: String?

    @Option(
        help: ArgumentHelp("With https: whom to trust instead of the system's authorities.", valueName: "file"))
    var caFile: String?

    @Option(help: ArgumentHelp("A certificate to show, where it asks for one.", valueName: "file"))
    var clientCertFile: String?

    @Option(help: ArgumentHelp("Its private key.", valueName: "file"))
    var clientKeyFile: String?

    func validate() throws {
        if (clientCertFile == nil) != (clientKeyFile == nil) {
            throw ValidationError("--client-cert-file and --client-key-file belong together")
        }
    }

    func connection(to url: String) -> ServerConnection {
        var tls = TLSSettings()
        tls.caFile = caFile
        tls.certFile = clientCertFile
        tls.keyFile = clientKeyFile
        return ServerConnection(url: url, credentialsFile: credentialsFile, tls: tls)
    }
}

/// `--url` and what it takes to talk to a running sidecar (or any Prometheus).
struct ServerOptions: ParsableArguments {
    @Option(help: "Where the sidecar answers.")
    var url = "http://127.0.0.1:9640"

    @OptionGroup var credentials: CredentialOptions

    func send(_ method: String, _ path: String, form: [(String, String)] = [], json: [UInt8]? = nil) async throws
        -> [UInt8]
    {
        try await credentials.connection(to: url).send(method, path, form: form, json: json)
    }
}

/// A server and how to be let in there.
struct ServerConnection: Sendable {
    let url: String
    var credentialsFile: String?
    var tls = TLSSettings()

    /// Sends a request below the URL; the body of a success, an error with the server's own words otherwise.
    func send(_ method: String, _ path: String, form: [(String, String)] = [], json: [UInt8]? = nil) async throws
        -> [UInt8]
    {
        let client = HTTPClient(name: "kops-cli")
        defer { client.shutdown() }
        var base = url
        while base.hasSuffix("/") { base.removeLast() }
        if !base.contains("://") { base = "http://" + base }
        guard base.hasPrefix("http://") || base.hasPrefix("https://") else {
            throw CommandFailure.unusable("--url must begin with http:// or https://, not \"\(url)\"")
        }
        var request = HTTPRequest(method, base + path)
        request.timeout = .seconds(150)
        request.maxBodyBytes = 1 << 30
        if !form.isEmpty {
            let text = form.map { percentEncoded($0.0) + "=" + percentEncoded($0.1) }.joined(separator: "&")
            if method == "GET" {
                request.url += (path.contains("?") ? "&" : "?") + text
            } else {
                request.body = Array(text.utf8)
                request.headers.append(("Content-Type", "application/x-www-form-urlencoded"))
            }
        }
        if let json {
            request.body = json
            request.headers.append(("Content-Type", "application/json"))
        }
        // Who sits here: the service notes it beside the user that it authenticated.
        if method != "GET" { request.headers.append((operatorHeader, operatorName())) }
        try authenticate(&request)
        let response: HTTPResponse
        do {
            response = try await client.send(request)
        } catch {
            throw CommandFailure.failed("\(base) does not answer: \(withoutURL(error.message))")
        }
        guard (200..<300).contains(response.status) else {
            throw CommandFailure.failed("\(base) refuses (\(response.status)): \(serverMessage(response.body))")
        }
        return response.body
    }

    /// Puts the credentials into a request.
    func authenticate(_ request: inout HTTPRequest) throws {
        request.tls = tls
        guard let credentialsFile else { return }
        let text: String
        do {
            text = try FileSystem.readText(credentialsFile, maxBytes: 65536)
        } catch {
            throw CommandFailure.unusable("\(error)")
        }
        let line = text.split(separator: "\n").first.map(String.init) ?? ""
        if let colon = line.firstIndex(of: ":") {
            request.basicAuth = (String(line[..<colon]), String(line[line.index(after: colon)...]))
        } else {
            request.headers.append(("Authorization", "Bearer \(line)"))
        }
    }
}

/// A transfer's error without the URL that it begins with: which server it was is said already.
private func withoutURL(_ message: String) -> String {
    guard message.hasPrefix("http"), let end = message.firstRange(of: ": ") else { return message }
    return String(message[end.upperBound...])
}

/// What the server says was wrong: Prometheus' or Alertmanager's error text, else the body's beginning.
private func serverMessage(_ body: [UInt8]) -> String {
    struct Refusal: Decodable { var error: String?, message: String? }
    if let refusal = try? JSONDecoder().decode(Refusal.self, from: Data(body)),
        let text = refusal.error ?? refusal.message
    {
        return text
    }
    if let text = try? JSONDecoder().decode(String.self, from: Data(body)) { return text }
    return String(decoding: body.prefix(300), as: UTF8.self).split(separator: "\n").first.map(String.init) ?? ""
}

/// A time argument: RFC 3339, Unix seconds, `now`, or `-1h` before now.
func parseTimeArgument(_ text: String, now: Int64) throws -> Int64 {
    if text == "now" { return now }
    if text.hasPrefix("-"), let duration = parseDuration(String(text.dropFirst())) { return now - duration }
    guard let time = parseTime(text) else {
        throw CommandFailure.unusable(
            "\"\(text)\" is not a time: give 2026-01-31T12:00:00Z, Unix seconds, now, or -1h for an hour ago")
    }
    return time
}
