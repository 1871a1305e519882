package import Platform

/// Something to send for one notification.
package enum Outgoing: Sendable {
    case http(HTTPRequest, HTTPCheck)
    case mail(MailRequest)
    case log(level: String, String)
    case exec(command: String, arguments: [String], environment: [(String, String)], input: [UInt8], timeout: Int64)
    /// WeChat's two steps: the token's address, then the request made with it.
    case withToken(HTTPRequest, @Sendable (String) -> HTTPRequest)
    /// Several requests, each made after the answer to the one before.
    case jira(JiraConversation)
}

/// What an answer has to be like to count as success, beyond its status.
package enum HTTPCheck: Sendable {
    case status
    /// 200 may still carry `{"ok":false,"error":…}`.
    case slack
    /// `{"errcode":0}`
    case wechat
    /// `{"success":true}`
    case rocketchat
}

/// How a try to send ended.
package enum DeliveryOutcome: Sendable, Equatable {
    case done
    /// Worth another try, after so many milliseconds at least where the receiver said so.
    case retry(reason: FailureReason, message: String, after: Int64?)
    /// The receiver will not take this message.
    case failed(reason: FailureReason, message: String)
}

/// The `reason` of `kops_notifications_failed_total`.
package enum FailureReason: String, Sendable {
    case clientError, serverError, rateLimited, timedOut, connection, template, configuration, queueFull, command, other
}

/// A notification that cannot be made from its configuration: a secret that cannot be read, an empty address.
struct OutgoingError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// 2xx is success; 429 and 5xx are worth a retry; everything else is not.
package func outcome(of response: HTTPResponse, _ check: HTTPCheck, now: Int64) -> DeliveryOutcome {
    let detail = response.bodyText.prefix(300).split(whereSeparator: \.isNewline).joined(separator: " ")
    let shown = detail.isEmpty ? "" : ": \(detail)"
    switch response.status {
    case 200..<300:
        switch check {
        case .status: return .done
        case .slack where detail.contains("\"ok\":false"): return .failed(reason: .clientError, message: detail)
        case .rocketchat where detail.contains("\"success\":false"):
            return .failed(reason: .clientError, message: detail)
        case .wechat where !detail.contains("\"errcode\":0"):
            return .retry(reason: .clientError, message: detail, after: nil)
        default: return .done
        }
    case 429, 503:
        return .retry(
            reason: response.status == 429 ? .rateLimited : .serverError,
            message: "unexpected status code \(response.status)\(shown)", after: retryAfter(response, now: now))
    case 500..<600:
        return .retry(reason: .serverError, message: "unexpected status code \(response.status)\(shown)", after: nil)
    default: return .failed(reason: .clientError, message: "unexpected status code \(response.status)\(shown)")
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110), or the JSON answers of chats that put `retry_after` in seconds there.
private func retryAfter(_ response: HTTPResponse, now: Int64) -> Int64? {
    if let text = response.header("retry-after") {
        if let seconds = Double(text), seconds >= 0, seconds < 1e6 { return Int64(seconds * 1000) }
        if let date = parseHTTPDate(text) { return max(0, date - now) }
    }
    let body = response.bodyText
    if let key = body.range(ofText: "\"retry_after_ms\":") {
        // Matrix.
        let digits = body[key...].drop { $0 == " " }.prefix { $0.isNumber }
        if let milliseconds = Int64(digits), milliseconds < 1_000_000_000 { return milliseconds }
    }
    if let key = body.range(ofText: "\"retry_after\":") {
        let digits = body[key...].drop { $0 == " " }.prefix { $0.isNumber || $0 == "." }
        if let seconds = Double(digits), seconds < 1e6 { return Int64(seconds * 1000) }
    }
    return nil
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` to milliseconds since 1970.
package func parseHTTPDate(_ text: String) -> Int64? {
    let parts = text.split { $0 == " " || $0 == "," || $0 == ":" }
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    guard parts.count >= 7, let day = Int64(parts[1]), let month = months.firstIndex(of: String(parts[2])),
        let year = Int64(parts[3]), year > 1900, year < 10_000, let hour = Int64(parts[4]),
        let minute = Int64(parts[5]),
        let second = Int64(parts[6])
    else { return nil }
    let days = daysSinceEpoch(year: year, month: Int64(month) + 1, day: day)
    return (days * 86400 + hour * 3600 + minute * 60 + second) * 1000
}

extension String {
    /// Where the text behind the first place of `needle` begins.
    func range(ofText needle: String) -> Index? {
        let wanted = Array(needle.utf8)
        let all = Array(utf8)
        guard all.count >= wanted.count else { return nil }
        for start in 0...(all.count - wanted.count) where all[start..<start + wanted.count].elementsEqual(wanted) {
            return utf8.index(utf8.startIndex, offsetBy: start + wanted.count)
        }
        return nil
    }
}
