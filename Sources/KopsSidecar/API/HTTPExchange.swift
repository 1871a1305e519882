import NIOCore
import NIOHTTP1
import Platform

/// One for all connections.
private let date = DateHeader()

/// One connection's requests and answers, in order and one at a time, on its event loop's thread.
///
/// A request's body is collected whole before it is answered. What comes meanwhile waits: no more is read than one read
/// brings, so a client that pipelines without end meets TCP's own limit. An answer in pieces asks for the next one when
/// most of the last has been sent, and the next request is taken up when the answer before it has gone, so a slow client
/// holds little memory.
final class HTTPExchange: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    struct Limits: Sendable {
        var bodyBytes = 64 << 20
        /// From the connection's beginning, TLS included, to the end of its first request's head.
        var firstHead = TimeAmount.seconds(10)
        /// Without a request, without more of a body, or without the client taking more of an answer.
        var idle = TimeAmount.seconds(120)
        /// For a whole body.
        var body = TimeAmount.seconds(300)
        /// Work that has taken so long ends when the client goes away; what is quicker is finished for nobody.
        var patience = TimeAmount.seconds(1)
        /// What a refused client still sends is thrown away for so long: the refusal would be lost with the connection.
        var linger = TimeAmount.seconds(5)
    }

    /// Answers a request; calls back once, on any thread.
    typealias Answer = (APIRequest, @escaping @Sendable (APIReply) -> Void) -> Void
    /// Runs a job that blocks on another thread; false where it takes none.
    typealias Work = (@escaping @Sendable () -> Void) -> Bool

    private enum Phase {
        /// For a request's head.
        case waiting
        /// The body.
        case receiving
        /// The answer is being worked on.
        case answering
        /// Pieces of the answer are fetched and sent.
        case sending
        /// The answer is with the channel, which has not sent enough of it to go on.
        case flushing
        /// Nothing that comes is read as a request any more.
        case ending
    }

    private let limits: Limits
    private let answer: Answer
    private let work: Work
    private var context: ChannelHandlerContext?
    private var phase = Phase.waiting
    private var head = HTTPRequestHead(version: .http1_1, method: .GET, uri: "/")
    private var body = ByteBuffer()
    /// What came while another request was answered.
    private var queue = CircularBuffer<HTTPServerRequestPart>()
    private var pumping = false
    private var readWaits = false
    /// Of the request that is answered; answers to earlier ones are nobody's.
    private var serial = 0
    private var cancellation: Cancellation?
    private var answeringSince = NIODeadline.distantPast
    /// Whether another request may follow the answer.
    private var keepsAlive = true
    private var inputEnded = false
    private var quiescing = false
    private var pieces: (@Sendable () throws -> [UInt8]?)?
    private var fetching = false
    /// When the connection is closed unless something happens; moved without moving the timer.
    private var deadline: NIODeadline?
    private var bodyDeadline = NIODeadline.distantFuture
    private var timer: (scheduled: Scheduled<Void>, at: NIODeadline)?
    private var unsentBefore = Int.max
    private lazy var client = context?.channel.remoteAddress?.ipAddress ?? ""

    init(limits: Limits, work: @escaping Work = { WorkerPool.shared.submit($0) }, answer: @escaping Answer) {
        self.limits = limits
        self.work = work
        self.answer = answer
    }

    // MARK: - The channel's events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        setDeadline(now + limits.firstHead)
    }

    func handlerRemoved(context: ChannelHandlerContext) { forget() }

    func channelInactive(context: ChannelHandlerContext) {
        clientLeft()
        forget()
        context.fireChannelInactive()
    }

    /// Breaks the cycle of handler, context and timer.
    private func forget() {
        phase = .ending
        timer?.scheduled.cancel()
        timer = nil
        pieces = nil
        queue.removeAll()
        context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        switch phase {
        case .waiting, .receiving: take(part)
        case .answering, .sending, .flushing: queue.append(part)
        case .ending: break
        }
    }

    func read(context: ChannelHandlerContext) {
        if queue.isEmpty { context.read() } else { readWaits = true }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ChannelShouldQuiesceEvent {
            quiescing = true
            if phase == .waiting { close() }
        } else if let event = event as? ChannelEvent, event == .inputClosed {
            inputEnded = true
            switch phase {
            case .waiting, .receiving, .ending: close()
            case .answering, .sending, .flushing: clientLeft()
            }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard error is HTTPParserError else { return close() }
        switch phase {
        case .waiting, .receiving: refuse(.text(400, "400 bad request\n"))
        case .answering, .sending, .flushing: keepsAlive = false
        case .ending: break
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            if phase == .sending { fetchPiece() }
            if phase == .flushing { sent() }
        }
        context.fireChannelWritabilityChanged()
    }

    // MARK: - Requests

    private func take(_ part: HTTPServerRequestPart) {
        switch part {
        case .head(let head): begin(head)
        case .body(let piece):
            guard phase == .receiving else { return }
            guard body.readableBytes + piece.readableBytes <= limits.bodyBytes else { return refuse(tooLarge) }
            if body.readableBytes == 0 { body = piece } else { body.writeImmutableBuffer(piece) }
            setDeadline(min(bodyDeadline, now + limits.idle))
        case .end:
            if phase == .receiving { respond() }
        }
    }

    private func begin(_ head: HTTPRequestHead) {
        self.head = head
        body = ByteBuffer()
        phase = .receiving
        // The decoder reads nothing behind a request that wants another protocol.
        keepsAlive = head.isKeepAlive && !head.headers.contains(name: "upgrade") && head.method != .CONNECT
        let length = head.headers.first(name: "content-length").flatMap { Int($0) } ?? 0
        if length > limits.bodyBytes { return refuse(tooLarge) }
        let now = now
        bodyDeadline = now + limits.body
        setDeadline(min(bodyDeadline, now + limits.idle))
        if head.version == .http1_1, length > 0 || head.headers.contains(name: "transfer-encoding"),
            head.headers.first(name: "expect")?.lowercased() == "100-continue"
        {
            context?.writeAndFlush(
                wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .continue))), promise: nil)
        }
    }

    private var tooLarge: APIReply { .text(413, "the request's body is larger than \(limits.bodyBytes) bytes\n") }

    private func respond() {
        phase = .answering
        deadline = nil
        serial += 1
        answeringSince = now
        let cancellation = Cancellation()
        self.cancellation = cancellation
        let request: APIRequest
        do {
            request = try APIRequest(head, body, cancellation, client: client)
            body = ByteBuffer()
        } catch {
            return finish(error.reply)
        }
        guard let loop = context?.eventLoop else { return }
        let (me, serial) = (NIOLoopBound(self, eventLoop: loop), serial)
        answer(request) { reply in
            if loop.inEventLoop {
                me.value.finish(reply, serial)
            } else {
                loop.execute { me.value.finish(reply, serial) }
            }
        }
    }

    /// Answers without waiting for the rest of the request, and hears no other.
    private func refuse(_ reply: APIReply) {
        keepsAlive = false
        // What went wrong before a head was whole leaves none to go by.
        if phase == .waiting { head = HTTPRequestHead(version: .http1_1, method: .GET, uri: "/") }
        body = ByteBuffer()
        guard let context else { return }
        send(reply)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        phase = .ending
        if inputEnded { return close() }
        context.close(mode: .output, promise: nil)
        setDeadline(now + limits.linger)
    }

    /// The one who asked has gone: work that has taken long ends, now or when it has.
    private func clientLeft() {
        guard phase == .answering, let cancellation, let context else { return }
        let due = answeringSince + limits.patience
        if due <= now { return cancellation.cancel() }
        let (me, serial) = (NIOLoopBound(self, eventLoop: context.eventLoop), serial)
        context.eventLoop.scheduleTask(deadline: due) {
            if me.value.serial == serial, me.value.cancellation != nil { cancellation.cancel() }
        }
    }

    // MARK: - Answers

    private func finish(_ reply: APIReply, _ serial: Int) {
        guard serial == self.serial else { return }
        cancellation = nil
        if phase == .answering { finish(reply) }
    }

    private func finish(_ reply: APIReply) {
        cancellation = nil
        if quiescing || (inputEnded && queue.isEmpty) { keepsAlive = false }
        // To a client of HTTP/1.0 the end of the connection is the end of the answer.
        if case .pieces = reply.body, head.version.minor == 0 { keepsAlive = false }
        send(reply)
        if case .pieces(let next) = reply.body, head.method != .HEAD {
            phase = .sending
            pieces = next
            setDeadline(now + limits.idle)
            context?.flush()
            fetchPiece()
        } else {
            end()
        }
    }

    /// Writes the head and, where it is all there, the body.
    private func send(_ reply: APIReply) {
        var headers = HTTPHeaders()
        headers.reserveCapacity(reply.headers.count + 4)
        headers.add(name: "Content-Type", value: reply.contentType)
        for (name, value) in reply.headers where isField(name, value) { headers.add(name: name, value: value) }
        headers.add(name: "Date", value: date.text)
        if !keepsAlive {
            headers.add(name: "Connection", value: "close")
        } else if head.version.minor == 0 {
            headers.add(name: "Connection", value: "keep-alive")
        }
        var bytes: [UInt8] = []
        let hasBody = reply.status >= 200 && reply.status != 204 && reply.status != 304
        if hasBody {
            switch reply.body {
            case .bytes(let all):
                bytes = all
                headers.add(name: "Content-Length", value: String(all.count))
            case .pieces:
                if head.version.minor != 0, head.method != .HEAD {
                    headers.add(name: "Transfer-Encoding", value: "chunked")
                }
            }
        }
        let version = head.version.minor == 0 ? HTTPVersion.http1_0 : .http1_1
        let answer = HTTPResponseHead(version: version, status: .init(statusCode: reply.status), headers: headers)
        context?.write(wrapOutboundOut(.head(answer)), promise: nil)
        if !bytes.isEmpty, head.method != .HEAD {
            context?.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: bytes)))), promise: nil)
        }
    }

    private func fetchPiece() {
        guard let next = pieces, !fetching, let loop = context?.eventLoop else { return }
        fetching = true
        let me = NIOLoopBound(self, eventLoop: loop)
        let taken = work {
            let piece = Result { try next() }
            loop.execute { me.value.sendPiece(piece) }
        }
        if !taken { sendPiece(.failure(WorkerPoolError.full)) }
    }

    private func sendPiece(_ piece: Result<[UInt8]?, any Error>) {
        fetching = false
        guard phase == .sending, let context else { return }
        setDeadline(now + limits.idle)
        switch piece {
        case .failure:
            // The missing end tells the client.
            close()
        case .success(nil):
            pieces = nil
            end()
        case .success(let bytes?):
            context.writeAndFlush(
                wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: bytes)))), promise: nil)
            if context.channel.isWritable { fetchPiece() }
        }
    }

    private func end() {
        guard let context else { return }
        if keepsAlive {
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            if context.channel.isWritable { sent() } else { flushing() }
            return
        }
        flushing()
        let gone = context.eventLoop.makePromise(of: Void.self)
        let me = NIOLoopBound(self, eventLoop: context.eventLoop)
        gone.futureResult.whenComplete { _ in me.value.close() }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: gone)
    }

    private func flushing() {
        phase = .flushing
        unsentBefore = .max
        setDeadline(now + limits.idle)
    }

    /// The answer has gone: what came meanwhile is next.
    private func sent() {
        guard keepsAlive else { return }
        phase = .waiting
        setDeadline(now + limits.idle)
        if pumping { return }
        pumping = true
        while phase == .waiting || phase == .receiving, let part = queue.popFirst() { take(part) }
        pumping = false
        if phase == .waiting, quiescing || inputEnded { return close() }
        if queue.isEmpty, readWaits {
            readWaits = false
            context?.read()
        }
    }

    private func close() {
        phase = .ending
        context?.close(promise: nil)
    }

    // MARK: - Time

    private var now: NIODeadline { context?.eventLoop.now ?? .distantPast }

    private func setDeadline(_ moment: NIODeadline) {
        deadline = moment
        if let timer, timer.at <= moment { return }
        timer?.scheduled.cancel()
        startTimer(moment)
    }

    private func startTimer(_ moment: NIODeadline) {
        guard let loop = context?.eventLoop else { return }
        let me = NIOLoopBound(self, eventLoop: loop)
        timer = (loop.scheduleTask(deadline: moment) { me.value.timeIsUp() }, moment)
    }

    private func timeIsUp() {
        timer = nil
        guard let deadline, let context else { return }
        if deadline > now { return startTimer(deadline) }
        if phase == .flushing || phase == .sending {
            // A slow client that takes a little now and then is waited for.
            let unsent = (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
            if fetching || unsent < unsentBefore {
                unsentBefore = unsent
                return setDeadline(now + limits.idle)
            }
        }
        close()
    }
}

/// Whether a field of an answer can be sent: a line break within would begin another.
private func isField(_ name: String, _ value: String) -> Bool {
    !name.isEmpty && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: ":") }
        && value.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f || $0 == 0x09 }
}
