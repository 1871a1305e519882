import Glibc
import Platform

/// E-mail: RFC 5322 and 2045 to 2047, both parts quoted-printable, one recipient list for all.
extension MessageBuilder {
    func mail() throws -> MailRequest {
        let from = rendered("from")
        let to = rendered("to")
        let recipients = mailAddresses(to)
        guard let sender = mailAddresses(from).first else { throw OutgoingError("\"\(from)\" is no sender's address") }
        guard !recipients.isEmpty else { throw OutgoingError("\"\(to)\" has no address to send to") }
        let host = config.text("smarthost")
        let port = host.split(separator: ":").last.map(String.init) ?? "25"
        var implicit = port == "465"
        if case .bool(let force)? = config.options["force_implicit_tls"] { implicit = force }
        var mail = MailRequest(
            url: "\(implicit ? "smtps" : "smtp")://\(host)", from: sender, recipients: recipients,
            message: try message(from: from, to: to, sender: sender))
        let user = config.text("auth_username")
        if !user.isEmpty {
            mail.user = user
            mail.password = try (config.secret("auth_password") ?? config.secret("auth_secret")).map(readSecret) ?? ""
        }
        let required = config.options["require_tls"] != .bool(false)
        mail.startTLS = implicit ? .never : required ? .required : .ifOffered
        let hello = config.text("hello")
        mail.helloName = hello.isEmpty ? "localhost" : hello
        mail.tls = config.http.tls
        return mail
    }

    private func message(from: String, to: String, sender: String) throws -> [UInt8] {
        var headers: [(String, String)] = []
        for entry in config.map("headers") {
            if case .text(let value) = entry.value { headers.append((entry.key, text.render(value))) }
        }
        func has(_ name: String) -> Bool { headers.contains { $0.0.lowercased() == name.lowercased() } }
        if !has("Subject") { headers.append(("Subject", Wording.title(data))) }
        if !has("To") { headers.append(("To", to)) }
        if !has("From") { headers.append(("From", from)) }
        let domain = sender.split(separator: "@").last.map(String.init) ?? "localhost"
        if !has("Message-Id") {
            let mark = hexadecimal(
                Digest.hash(
                    .sha256,
                    Array("\(delivery.key.group) \(delivery.key.index) \(delivery.flushedAt) \(delivery.id)".utf8)))
            headers.append(("Message-Id", "<\(mark.prefix(40))@\(domain)>"))
        }
        if case .bool(true)? = config.map("threading")["enabled"] {
            let day =
                config.map("threading").text("thread_by_date") == "none"
                ? "" : String(formatRFC3339(delivery.flushedAt).prefix(10))
            let root = "<alert-\(groupHash.prefix(32))-\(day)@alertmanager>"
            headers.append(("References", root))
            headers.append(("In-Reply-To", root))
        }
        headers.append(("Date", mailDate(delivery.flushedAt)))
        // A list's robot must not answer to a robot.
        headers.append(("Auto-Submitted", "auto-generated"))
        let plain = rendered("text")
        let html = rendered("html", html: true)
        let boundary = "kops-\(groupHash.prefix(24))\(delivery.id)"
        headers.append(("Content-Type", "multipart/alternative; boundary=\"\(boundary)\""))
        headers.append(("MIME-Version", "1.0"))
        var out = ""
        for (name, value) in headers {
            // A line break in a header would let a label write headers of its own.
            let line = String(String.UnicodeScalarView(value.unicodeScalars.map { $0.value < 32 ? " " : $0 }))
            out +=
                "\(name): \(isASCII(line) ? line : encodedHeader(line, address: ["to", "from", "cc"].contains(name.lowercased())))\r\n"
        }
        out += "\r\n"
        for (type, body) in [("plain", plain), ("html", html)] where !body.isEmpty {
            out += "--\(boundary)\r\nContent-Transfer-Encoding: quoted-printable\r\n"
            out += "Content-Type: text/\(type); charset=UTF-8\r\n\r\n\(quotedPrintable(body))\r\n"
        }
        out += "--\(boundary)--\r\n"
        return Array(out.utf8)
    }
}

private func isASCII(_ text: String) -> Bool { text.utf8.allSatisfy { $0 < 128 } }

/// RFC 2047 words of at most 75 characters; of an address only its display name is encoded.
func encodedHeader(_ text: String, address: Bool) -> String {
    if address, let bracket = text.lastIndex(of: "<") {
        let name = text[..<bracket].drop { $0 == " " }
        return encodedHeader(String(name), address: false) + " " + text[bracket...]
    }
    var words: [String] = []
    var word = ""
    for character in text {
        var piece = ""
        for byte in String(character).utf8 {
            let plain =
                (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122)
            if plain {
                piece += String(UnicodeScalar(byte))
            } else if byte == 32 {
                piece += "_"
            } else {
                let digits = String(byte, radix: 16, uppercase: true)
                piece += "=" + (digits.utf8.count == 1 ? "0" : "") + digits
            }
        }
        if word.utf8.count + piece.utf8.count > 60 {
            words.append(word)
            word = ""
        }
        word += piece
    }
    words.append(word)
    return words.map { "=?utf-8?q?\($0)?=" }.joined(separator: "\r\n ")
}

/// RFC 2045 quoted-printable, lines of at most 76 characters ended by CR LF.
func quotedPrintable(_ text: String) -> String {
    let hex = Array("0123456789ABCDEF".utf8)
    var out: [UInt8] = []
    let bytes = Array(text.utf8)
    var length = 0
    for (i, byte) in bytes.enumerated() {
        if byte == 13, i + 1 < bytes.count, bytes[i + 1] == 10 { continue }
        if byte == 10 {
            out += [13, 10]
            length = 0
            continue
        }
        let atLineEnd = i + 1 == bytes.count || bytes[i + 1] == 10 || bytes[i + 1] == 13
        let plain =
            (byte >= 33 && byte <= 126 && byte != UInt8(ascii: "=")) || ((byte == 32 || byte == 9) && !atLineEnd)
        let needed = plain ? 1 : 3
        if length + needed > 75 {
            out += Array("=\r\n".utf8)
            length = 0
        }
        if plain { out.append(byte) } else { out += [UInt8(ascii: "="), hex[Int(byte >> 4)], hex[Int(byte & 15)]] }
        length += needed
    }
    return String(decoding: out, as: UTF8.self)
}

/// The bare addresses of a list such as `Ana <ana@example.com>, bo@example.com`.
func mailAddresses(_ text: String) -> [String] {
    var parts: [String] = []
    var part = ""
    var quoted = false
    for c in text {
        if c == "\"" { quoted.toggle() }
        if c == "," && !quoted {
            parts.append(part)
            part = ""
        } else {
            part.append(c)
        }
    }
    parts.append(part)
    return parts.compactMap { part in
        var address = part
        if let open = part.lastIndex(of: "<"), let close = part.lastIndex(of: ">"), open < close {
            address = String(part[part.index(after: open)..<close])
        }
        address = String(address.filter { !$0.isWhitespace })
        return address.contains("@") ? address : nil
    }
}

/// RFC 5322 in UTC.
func mailDate(_ milliseconds: Int64) -> String {
    let days = milliseconds / 86_400_000
    let date = civilDate(daysSinceEpoch: days)
    let names = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    let time = formatRFC3339(milliseconds, fraction: false).dropFirst(11).prefix(8)
    let day = date.day < 10 ? "0\(date.day)" : "\(date.day)"
    return "\(names[Int(weekdayOfDay(days))]), \(day) \(months[Int(date.month) - 1]) \(date.year) \(time) +0000"
}
