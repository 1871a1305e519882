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

/// The HTTP server as a service. `onRunning` gets the port that is listened on.
package func makeHTTPServer(
    _ routes: RouteTable, access: WebAccess, options: HTTPServerOptions, log: Logger,
    onRunning: @escaping @Sendable (Int) async -> Void
) -> any Service {
    let loop = MultiThreadedEventLoopGroup.singleton.any()
    let executor = LoopExecutor(loop)
    let turn = LoopTurn(loop)
    let limits = HTTPExchange.Limits(
        bodyBytes: options.maxBodyBytes, firstHead: .milliseconds(options.firstHeadTimeout))
    return HTTPListener(
        loop: loop, host: options.host, port: options.port, maxConnections: options.maxConnections,
        gauge: routes.metrics.gauge(
            "kops_http_connections", "Connections of the HTTP server; beyond \(options.maxConnections) clients wait."),
        setUp: { channel in
            // TLS as the web configuration says at the moment that a connection is made.
            if let tls = access.tls { try channel.pipeline.syncOperations.addHandler(tls.handler()) }
            let exchange = HTTPExchange(limits: limits) { asked, done in
                var request = asked
                request.mayAnswerHere = turn.take()
                let task = Task.immediate(executorPreference: executor) {
                    done(await compressed(routes.answer(request), for: request))
                }
                request.cancellation.onCancel { task.cancel() }
            }
            try exchange.addBehindCodec(channel.pipeline.syncOperations)
        }, onRunning: onRunning)
}

extension HTTPExchange {
    /// Adds SwiftNIO's HTTP/1 codec and the exchange.
    func addBehindCodec(_ pipeline: ChannelPipeline.SynchronousOperations) throws {
        var encoder = HTTPResponseEncoder.Configuration()
        encoder.automaticallySetFramingHeaders = false
        var decoder = NIOHTTPDecoderLimitConfiguration()
        decoder.maxHeaderFieldSize = 80 << 10
        decoder.maxHeaderListSize = 80 << 10
        decoder.maxHeaderFieldCount = 1000
        try pipeline.configureHTTPServerPipeline(
            withPipeliningAssistance: false, withErrorHandling: false, withOutboundHeaderValidation: false,
            withEncoderConfiguration: encoder, withDecoderLimitConfiguration: decoder)
        try pipeline.addHandler(self)
    }
}
