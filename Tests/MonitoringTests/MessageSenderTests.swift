import Logging
import Platform
import Testing

@testable import Monitoring

@Suite struct MessageSenderTests {
    /// The paths of web hooks and of Telegram's API hold what lets anybody in.
    @Test func whatFailedIsToldWithoutTheAddressesSecret() async {
        let client = HTTPClient(name: "test")
        defer { client.shutdown() }
        let sender = MessageSender(
            deadline: WallClock.system.nowMilliseconds() + 5000, client: client, clock: .system,
            log: Logger(label: "test"))
        let request = HTTPRequest("POST", "http://user:HIDDEN@127.0.0.1:1/botHIDDEN/sendMessage?token=HIDDEN")
        let outcome = await sender.send(.http(request, .status), oauth2: HTTPClientConfig())
        guard case .retry(_, let message, _) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(message.contains("http://127.0.0.1:1/<secret>: "), "\(message)")
        #expect(!message.contains("HIDDEN"), "\(message)")
    }
}
