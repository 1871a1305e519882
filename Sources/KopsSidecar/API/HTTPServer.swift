import HummingbirdCore
package import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import Platform
package import ServiceLifecycle

/// How the HTTP server listens.
package struct HTTPServerOptions: Sendable {
    package var host: String
    package var port: Int
    /// Larger bodies are refused.
    package var maxBodyBytes = 64 << 20
    package var maxConnections = 512
    /// A connection whose first request's head has not come by then is closed. Milliseconds.
    package var firstHeadTimeout: Int64 = 10_000

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }
}

/// The HTTP server as a service: Hummingbird listens, counts connections and ends them, `HTTPExchange` speaks on each.
/// `onRunning` gets the port that is listened on.
package func makeHTTPServer(
    _ routes: RouteTable, access: WebAccess, options: HTTPServerOptions, log: Logger,
    onRunning: @escaping @Sendable (Int) async -> Void
) -> any Service {
    let loop = MultiThreadedEventLoopGroup.singleton.any()
    let executor = LoopExecutor(loop)
    var limits = HTTPExchange.Limits()
    limits.bodyBytes = options.maxBodyBytes
    limits.firstHead = .milliseconds(options.firstHeadTimeout)
    let server = APIChannel(access: access, limits: limits) { request, done in
        let task = Task.immediate(executorPreference: executor) {
            done(await compressed(routes.answer(request), for: request))
        }
        request.cancellation.onCancel { task.cancel() }
    }.server(
        configuration: ServerConfiguration(
            address: .hostname(options.host, port: options.port),
            availableConnectionsDelegate: MaximumAvailableConnections(options.maxConnections)),
        onServerRunning: { channel in await onRunning(channel.localAddress?.port ?? options.port) },
        eventLoopGroup: loop, logger: log)
    return ServiceOnExecutor(service: server, executor: executor)
}

/// A connection of the HTTP server, over TLS as the web configuration says at the moment that it is made.
struct APIChannel: ServerChildChannel {
    struct Connection: ServerChildChannelValue {
        let channel: any Channel
    }

    let access: WebAccess
    let limits: HTTPExchange.Limits
    let answer: @Sendable (APIRequest, @escaping @Sendable (APIReply) -> Void) -> Void

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Connection> {
        channel.eventLoop.makeCompletedFuture {
            let pipeline = channel.pipeline.syncOperations
            if let tls = access.tls { try pipeline.addHandler(tls.handler()) }
            try Self.addHandlers(pipeline, HTTPExchange(limits: limits, answer: answer))
            return Connection(channel: channel)
        }
    }

    /// SwiftNIO's HTTP/1 codec and the exchange.
    static func addHandlers(_ pipeline: ChannelPipeline.SynchronousOperations, _ exchange: HTTPExchange) throws {
        var encoder = HTTPResponseEncoder.Configuration()
        encoder.automaticallySetFramingHeaders = false
        var decoder = NIOHTTPDecoderLimitConfiguration()
        decoder.maxHeaderFieldSize = 80 << 10
        decoder.maxHeaderListSize = 80 << 10
        decoder.maxHeaderFieldCount = 1000
        try pipeline.configureHTTPServerPipeline(
            withPipeliningAssistance: false, withErrorHandling: false, withOutboundHeaderValidation: false,
            withEncoderConfiguration: encoder, withDecoderLimitConfiguration: decoder)
        try pipeline.addHandler(exchange)
    }

    func handle(value: Connection, logger: Logger) async { try? await value.channel.closeFuture.get() }
}
