import Glibc

/// Asks name servers for records that the C library's resolver does not give: SRV, MX and NS. Over UDP, and over TCP where an
/// answer does not fit. Calls block for at most `attempts` × servers × `timeout`; make them from a worker pool.
package struct DNSClient: Sendable {
    /// Numeric addresses with ports, asked in turn.
    package var servers: [(address: String, port: UInt16)] = [("127.0.0.1", 53)]
    /// Tried behind a name with fewer than `dots` dots first, behind others last.
    package var search: [String] = []
    package var dots = 1
    package var timeout: Duration = .seconds(5)
    package var attempts = 2

    /// Why a name has no answer. One line.
    package struct Failure: Error, Sendable, CustomStringConvertible {
        package let description: String
        package init(_ description: String) { self.description = description }
    }

    package init() {}

    /// Takes what `resolv.conf` (its text) says, with the C library's limits.
    package init(resolvConf text: String) {
        var found: [(address: String, port: UInt16)] = []
        for line in text.split(whereSeparator: \.isNewline) {
            let words = line.prefix { $0 != "#" && $0 != ";" }.split(whereSeparator: \.isWhitespace).map(String.init)
            switch words.first {
            case "nameserver":
                if words.count > 1, found.count < 3 { found.append((words[1], 53)) }
            case "domain": search = Array(words.dropFirst().prefix(1))
            case "search": search = Array(words.dropFirst().prefix(32))
            case "options":
                for word in words.dropFirst() {
                    let pair = word.split(separator: ":")
                    guard pair.count == 2, let number = Int(pair[1]), number >= 0 else { continue }
                    switch pair[0] {
                    case "ndots": dots = min(number, 15)
                    case "timeout": timeout = .seconds(max(1, min(number, 30)))
                    case "attempts": attempts = max(1, min(number, 5))
                    default: break
                    }
                }
            default: break
            }
        }
        if !found.isEmpty { servers = found }
    }

    /// The records of a name, along the search list; empty where the servers know of none. Throws where none of them could say.
    package func lookUp(_ name: String, _ type: DNSMessage.RecordType) throws(Failure) -> [DNSMessage.Record] {
        var problem: Failure?
        for candidate in candidates(name) {
            do {
                let records = try ask(candidate, type)
                if !records.isEmpty { return records }
            } catch {
                problem = error
            }
        }
        if let problem { throw problem }
        return []
    }

    /// The names to try for `name`, in full.
    func candidates(_ name: String) -> [String] {
        if name.hasSuffix(".") { return [name] }
        let listed = search.map { "\(name).\($0.hasSuffix(".") ? String($0.dropLast()) : $0)." }
        return name.count(where: { $0 == "." }) >= dots ? [name + "."] + listed : listed + [name + "."]
    }

    /// Servers in turn, until one knows the name or knows that there is none.
    private func ask(_ name: String, _ type: DNSMessage.RecordType) throws(Failure) -> [DNSMessage.Record] {
        guard let question = DNSMessage.question(id: .random(in: .min ... .max), name: name, type: type) else {
            throw Failure("\(name) cannot be a name")
        }
        var problem = "no server is configured"
        for _ in 0..<attempts {
            for server in servers {
                do throws(Failure) {
                    var answer = try exchange(question, type, server, overTCP: false)
                    if answer.isTruncated { answer = try exchange(question, type, server, overTCP: true) }
                    if answer.code == 0 || answer.code == 3 { return answer.records }
                    problem = "\(server.address) answers with code \(answer.code)"
                } catch {
                    problem = error.description
                }
            }
        }
        throw Failure("\(name): \(problem)")
    }

    private func exchange(
        _ question: [UInt8], _ type: DNSMessage.RecordType, _ server: (address: String, port: UInt16), overTCP: Bool
    ) throws(Failure) -> DNSMessage.Answer {
        let deadline = ContinuousClock.now + timeout
        let socket = try connect(server, overTCP: overTCP, deadline)
        defer { close(socket) }
        let length = [UInt8(question.count >> 8), UInt8(question.count & 0xff)]
        let message = overTCP ? length + question : question
        // The first bytes of a new connection fit its buffer.
        guard send(socket, message, message.count, Int32(MSG_NOSIGNAL)) == message.count else {
            throw failure(server, systemMessage(errno))
        }
        while true {
            let received = overTCP ? try receiveStream(socket, server, deadline) : try receive(socket, server, deadline)
            // The socket takes from this server only; what still does not fit the question is somebody's guess.
            if let answer = try? DNSMessage.answer(received, to: question, type: type) { return answer }
            if overTCP { throw failure(server, "its answer is damaged") }
        }
    }

    private func connect(
        _ server: (address: String, port: UInt16), overTCP: Bool, _ deadline: ContinuousClock.Instant
    ) throws(Failure) -> Int32 {
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
        hints.ai_socktype = Int32(overTCP ? SOCK_STREAM.rawValue : SOCK_DGRAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(server.address, String(server.port), &hints, &list) == 0, let info = list?.pointee else {
            throw failure(server, "it is not a numeric address")
        }
        defer { freeaddrinfo(list) }
        let flags = Int32(SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let socket = Glibc.socket(info.ai_family, info.ai_socktype | flags, 0)
        guard socket >= 0 else { throw failure(server, systemMessage(errno)) }
        if Glibc.connect(socket, info.ai_addr, info.ai_addrlen) == 0 { return socket }
        do throws(Failure) {
            guard errno == EINPROGRESS else { throw failure(server, systemMessage(errno)) }
            try wait(socket, POLLOUT, server, deadline)
            var code: Int32 = 0
            var size = socklen_t(MemoryLayout<Int32>.size)
            getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &size)
            guard code == 0 else { throw failure(server, systemMessage(code)) }
            return socket
        } catch {
            close(socket)
            throw error
        }
    }

    private func receive(
        _ socket: Int32, _ server: (address: String, port: UInt16), _ deadline: ContinuousClock.Instant,
        most: Int = 65_535
    ) throws(Failure) -> [UInt8] {
        try wait(socket, POLLIN, server, deadline)
        var buffer = [UInt8](repeating: 0, count: most)
        let count = recv(socket, &buffer, most, 0)
        guard count > 0 else { throw failure(server, count == 0 ? "it hangs up" : systemMessage(errno)) }
        return Array(buffer[..<count])
    }

    /// A message behind its length in two bytes.
    private func receiveStream(
        _ socket: Int32, _ server: (address: String, port: UInt16), _ deadline: ContinuousClock.Instant
    ) throws(Failure) -> [UInt8] {
        var bytes: [UInt8] = []
        while true {
            let wanted = bytes.count < 2 ? 2 : 2 + (Int(bytes[0]) << 8 | Int(bytes[1]))
            if bytes.count >= 2, bytes.count == wanted { return Array(bytes[2...]) }
            bytes += try receive(socket, server, deadline, most: wanted - bytes.count)
        }
    }

    private func wait(
        _ socket: Int32, _ event: Int32, _ server: (address: String, port: UInt16), _ deadline: ContinuousClock.Instant
    ) throws(Failure) {
        while true {
            let left = (deadline - ContinuousClock.now) / .milliseconds(1)
            var entry = pollfd(fd: socket, events: Int16(event), revents: 0)
            let count = left > 0 ? poll(&entry, 1, Int32(left.rounded(.up))) : 0
            if count > 0 { return }
            if count < 0, errno == EINTR { continue }
            throw failure(server, count == 0 ? "no answer in \(timeout)" : systemMessage(errno))
        }
    }

    private func failure(_ server: (address: String, port: UInt16), _ text: String) -> Failure {
        Failure("\(server.address): \(text)")
    }
}
