import CCurl
import Glibc

/// HTTP and SMTP through libcurl: all transfers of one client run on one thread of its own, over libcurl's multi
/// interface. Thread-safe. Connections are kept and used again. `shutdown` ends the thread and every open transfer.
package final class HTTPClient: Sendable {
    private let loop: CurlLoop

    /// `maxConnectionsPerHost` and `maxTotal` 0 mean libcurl's own limits; transfers beyond them wait. `maxTransfers` is
    /// how many may be under way or waiting at once; one more is refused. `isForBulk`: for one large HTTP/2 body at a time; it lets
    /// what comes gather for a millisecond instead of waking for each piece.
    package init(
        name: String, maxConnectionsPerHost: Int = 0, maxTotal: Int = 0, maxTransfers: Int = 20_000,
        isForBulk: Bool = false
    ) {
        loop = CurlLoop(
            maxPerHost: maxConnectionsPerHost, maxTotal: maxTotal, maxTransfers: maxTransfers, isForBulk: isForBulk)
        let loop = loop
        startThread(name: name) { loop.run() }
    }

    deinit { loop.stop() }

    package func shutdown() { loop.stop() }

    /// Transfers under way or waiting.
    package var transfersInFlight: Int { loop.inFlight }

    /// The whole answer, whatever its status. Cancelling the task ends the transfer.
    package func send(_ request: HTTPRequest) async throws(HTTPError) -> HTTPResponse {
        try await perform(Transfer(request: request))
    }

    /// Hands the body over piece by piece; the answer's own `body` stays empty. `receive` runs on the client's thread and
    /// holds up its other transfers while it blocks: who writes to a disk makes a client of his own. False ends the
    /// transfer as `interrupted`.
    package func stream(
        _ request: HTTPRequest, onHeaders: (@Sendable (Int, [(name: String, value: String)]) -> Void)? = nil,
        receive: @escaping @Sendable (UnsafeRawBufferPointer) -> Bool
    ) async throws(HTTPError) -> HTTPResponse {
        let transfer = Transfer(request: request)
        transfer.onHeaders = onHeaders
        transfer.receive = receive
        return try await perform(transfer)
    }

    /// Hands a mail to an SMTP server; returns when the server has taken it for all recipients.
    package func sendMail(_ mail: MailRequest) async throws(HTTPError) {
        _ = try await perform(Transfer(mail: mail))
    }

    func perform(_ transfer: Transfer) async throws(HTTPError) -> HTTPResponse {
        let loop = loop
        let result: Result<HTTPResponse, HTTPError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                transfer.completion = { continuation.resume(returning: $0) }
                loop.submit(transfer)
            }
        } onCancel: {
            loop.cancel(transfer)
        }
        return try result.get()
    }
}

/// How long the client's thread waits for its sockets. libcurl 7.88 (Debian 12) can hold the last frames of an HTTP/2 stream
/// in a buffer of its own and wait for a socket that has nothing more to say; a stream then stood still for whole seconds. So
/// after bytes of such a body it is asked again soon, and ever more rarely while nothing comes.
struct PollPause {
    static let longest: Int32 = 1000
    /// The first wait after bytes have come and no more are there.
    static let first: Int32 = 2
    private var milliseconds = longest

    /// Milliseconds to wait now. `hasMoved`: bytes of an HTTP/2 body came since the last wait.
    mutating func next(hasMoved: Bool) -> Int32 {
        if hasMoved {
            milliseconds = PollPause.first / 2
        } else {
            milliseconds = min(PollPause.longest, milliseconds * 2)
        }
        return milliseconds
    }
}

/// The thread: takes transfers from a queue, drives them, completes them.
private final class CurlLoop: @unchecked Sendable {
    // Unchecked: `multi`, `active` and `hasMoved` are touched by the loop's thread only; all else is behind `inbox`. The
    // exception is curl_multi_wakeup, which libcurl allows from any thread.
    private struct Inbox {
        var start: [Transfer] = []
        var cancel: [Transfer] = []
        var count = 0
        var stopped = false
    }

    private let inbox = Lock(Inbox())
    private let multi: OpaquePointer?
    private var active: [OpaquePointer: Transfer] = [:]
    private var spare: [OpaquePointer] = []
    private let maxTransfers: Int
    private let isForBulk: Bool
    /// Whether bytes of an HTTP/2 body came since the last wait.
    private var hasMoved = false

    private static let initialised = kops_curl_global_init()

    init(maxPerHost: Int, maxTotal: Int, maxTransfers: Int, isForBulk: Bool) {
        _ = CurlLoop.initialised
        self.maxTransfers = maxTransfers
        self.isForBulk = isForBulk
        multi = OpaquePointer(curl_multi_init())
        let raw = UnsafeMutableRawPointer(multi)
        _ = kops_curl_multi_setopt_long(raw, CURLMOPT_MAX_HOST_CONNECTIONS, maxPerHost)
        _ = kops_curl_multi_setopt_long(raw, CURLMOPT_MAX_TOTAL_CONNECTIONS, maxTotal)
        _ = kops_curl_multi_setopt_long(raw, CURLMOPT_MAXCONNECTS, 512)
    }

    var inFlight: Int { inbox.withLock { $0.count } }

    func submit(_ transfer: Transfer) {
        let refusal: HTTPError? = inbox.withLock {
            if $0.stopped { return HTTPError(.cancelled, "the HTTP client has been shut down") }
            if $0.count >= maxTransfers {
                return HTTPError(.tooManyRequests, "\($0.count) requests are under way already")
            }
            $0.count += 1
            $0.start.append(transfer)
            return nil
        }
        if let refusal { return transfer.complete(.failure(refusal)) }
        curl_multi_wakeup(UnsafeMutableRawPointer(multi))
    }

    func cancel(_ transfer: Transfer) {
        inbox.withLock { $0.cancel.append(transfer) }
        curl_multi_wakeup(UnsafeMutableRawPointer(multi))
    }

    func stop() {
        inbox.withLock { $0.stopped = true }
        curl_multi_wakeup(UnsafeMutableRawPointer(multi))
    }

    func run() {
        let raw = UnsafeMutableRawPointer(multi)
        var pause = PollPause()
        while true {
            let (start, cancel, stopped) = inbox.withLock { inbox in
                defer {
                    inbox.start.removeAll(keepingCapacity: true)
                    inbox.cancel.removeAll(keepingCapacity: true)
                }
                return (inbox.start, inbox.cancel, inbox.stopped)
            }
            for transfer in start { begin(transfer) }
            for transfer in cancel {
                guard let handle = transfer.handle, active[handle] === transfer else {
                    transfer.cancelledEarly = true
                    continue
                }
                finish(handle, transfer, .failure(HTTPError(.cancelled, "the request was cancelled")))
            }
            if stopped {
                for (handle, transfer) in active {
                    finish(handle, transfer, .failure(HTTPError(.cancelled, "the HTTP client has been shut down")))
                }
                break
            }
            var running: Int32 = 0
            curl_multi_perform(raw, &running)
            var code = CURLE_OK
            while let done = kops_curl_multi_next_done(raw, &code) {
                let handle = OpaquePointer(done)
                guard let transfer = active[handle] else { continue }
                finish(handle, transfer, transfer.result(code))
            }
            // Where a body moves, there is more of it: it asks the sockets itself, once less for each piece.
            let wait = pause.next(hasMoved: hasMoved)
            if !hasMoved {
                if isForBulk, wait == PollPause.first { usleep(1000) }
                var events: Int32 = 0
                curl_multi_poll(raw, nil, 0, wait, &events)
            }
            hasMoved = false
        }
        for handle in spare { curl_easy_cleanup(UnsafeMutableRawPointer(handle)) }
        curl_multi_cleanup(raw)
    }

    private func begin(_ transfer: Transfer) {
        guard !transfer.cancelledEarly else {
            inbox.withLock { $0.count -= 1 }
            return transfer.complete(.failure(HTTPError(.cancelled, "the request was cancelled")))
        }
        guard let handle = spare.popLast() ?? OpaquePointer(curl_easy_init()) else {
            inbox.withLock { $0.count -= 1 }
            return transfer.complete(.failure(HTTPError(.invalidRequest, "libcurl has no memory")))
        }
        if let problem = transfer.prepare(handle) {
            recycle(handle, transfer)
            return transfer.complete(.failure(problem))
        }
        active[handle] = transfer
        transfer.onHTTP2Bytes = { [unowned self] in hasMoved = true }
        curl_multi_add_handle(UnsafeMutableRawPointer(multi), UnsafeMutableRawPointer(handle))
    }

    private func finish(_ handle: OpaquePointer, _ transfer: Transfer, _ result: Result<HTTPResponse, HTTPError>) {
        curl_multi_remove_handle(UnsafeMutableRawPointer(multi), UnsafeMutableRawPointer(handle))
        active[handle] = nil
        recycle(handle, transfer)
        transfer.complete(result)
    }

    private func recycle(_ handle: OpaquePointer, _ transfer: Transfer) {
        transfer.release()
        inbox.withLock { $0.count -= 1 }
        if spare.count < 64 {
            curl_easy_reset(UnsafeMutableRawPointer(handle))
            spare.append(handle)
        } else {
            curl_easy_cleanup(UnsafeMutableRawPointer(handle))
        }
    }
}
