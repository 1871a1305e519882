import Glibc
import Logging
import Platform
import Subprocess

/// Sends one message by the way it says.
struct MessageSender: Sendable {
    /// When a try is broken off: the group's next flush is due. Milliseconds since 1970.
    let deadline: Int64
    let client: HTTPClient
    let clock: WallClock
    let log: Logger

    private func bounded(_ limit: Duration?) -> Duration {
        let left = Duration.milliseconds(max(1, deadline - clock.nowMilliseconds()))
        return limit.map { min($0, left) } ?? left
    }

    func send(_ message: Outgoing, oauth2 config: HTTPClientConfig) async -> DeliveryOutcome {
        switch message {
        case .http(let request, let check): return await http(request, check, config)
        case .mail(let mail): return await deliver(mail)
        case .log(let level, let text):
            log.log(level: Logger.Level(rawValue: level) ?? .info, "\(text)")
            return .done
        case .exec(let command, let arguments, let environment, let input, let timeout):
            return await execute(command, arguments, environment, input, timeout)
        case .jira(let conversation): return await conversation.run { await exchange($0, .status, config) }
        case .withToken(let tokenRequest, let makeRequest):
            do {
                var tokenRequest = tokenRequest
                tokenRequest.timeout = bounded(tokenRequest.timeout)
                tokenRequest.hidesPath = true
                let answer = try await client.send(tokenRequest)
                guard let token = jsonText("access_token", in: answer.bodyText) else {
                    return .failed(
                        reason: .clientError, message: "no access token was given: \(answer.bodyText.prefix(200))")
                }
                return await http(makeRequest(token), .wechat, config)
            } catch {
                return .retry(reason: .connection, message: "\(error)", after: nil)
            }
        }
    }

    private func http(_ request: HTTPRequest, _ check: HTTPCheck, _ config: HTTPClientConfig) async -> DeliveryOutcome {
        await exchange(request, check, config).0
    }

    /// The outcome, and the body where it was a success.
    private func exchange(
        _ request: HTTPRequest, _ check: HTTPCheck, _ config: HTTPClientConfig
    ) async -> (DeliveryOutcome, [UInt8]) {
        var request = request
        request.timeout = bounded(request.timeout)
        request.hidesPath = true
        if config.oauth2 != nil {
            do {
                var bare = HTTPClientConfig()
                bare.oauth2 = config.oauth2
                let prepared = try await HTTPAuthorizer(bare, client: client, clock: clock).prepare(
                    HTTPRequest(request.method, request.url))
                request.headers += prepared.headers.filter { $0.name == "Authorization" }
            } catch {
                return (.retry(reason: .connection, message: "\(error)", after: nil), [])
            }
        }
        do {
            let response = try await client.send(request)
            let outcome = outcome(of: response, check, now: clock.nowMilliseconds())
            return (outcome, outcome == .done ? response.body : [])
        } catch {
            return (.retry(reason: reason(error), message: "\(error)", after: nil), [])
        }
    }

    private func reason(_ error: HTTPError) -> FailureReason {
        error.kind.rawValue.lowercased().contains("time") ? .timedOut : .connection
    }

    private func deliver(_ mail: MailRequest) async -> DeliveryOutcome {
        var mail = mail
        mail.timeout = bounded(mail.timeout)
        do {
            try await client.sendMail(mail)
            return .done
        } catch {
            return .retry(reason: reason(error), message: "\(error)", after: nil)
        }
    }

    private func execute(
        _ command: String, _ arguments: [String], _ environment: [(String, String)], _ input: [UInt8], _ timeout: Int64
    ) async -> DeliveryOutcome {
        let variables = Dictionary(
            environment.map { (Environment.Key(rawValue: $0.0) ?? "KOPS", $0.1) }, uniquingKeysWith: { $1 })
        do {
            return try await withThrowingTaskGroup(of: DeliveryOutcome?.self) { group in
                group.addTask {
                    let result = try await Subprocess.run(
                        .name("env"), arguments: Arguments(["--", command] + arguments),
                        environment: .inherit.updating(variables), input: .array(input), output: .discarded,
                        error: .string(limit: 4096))
                    if result.terminationStatus.isSuccess { return .done }
                    return .retry(
                        reason: .command,
                        message: "\(command) ended with \(result.terminationStatus): \(result.standardError)",
                        after: nil)
                }
                group.addTask {
                    try await Task.sleep(for: bounded(.milliseconds(timeout)))
                    return nil
                }
                let first = try await group.next() ?? nil
                group.cancelAll()
                return first
                    ?? .retry(reason: .timedOut, message: "\(command) took longer than \(timeout) ms", after: nil)
            }
        } catch {
            return .failed(reason: .command, message: "\(command): \(error)")
        }
    }
}

/// A text field of a flat JSON object; enough for a token.
private func jsonText(_ name: String, in json: String) -> String? {
    guard let at = json.range(ofText: "\"\(name)\":") else { return nil }
    let rest = json[at...].drop { $0 == " " }
    guard rest.first == "\"" else { return nil }
    let value = rest.dropFirst().prefix { $0 != "\"" }
    return value.isEmpty ? nil : String(value)
}
