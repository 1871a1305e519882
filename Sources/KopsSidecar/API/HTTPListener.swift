import Logging
import NIOCore
import NIOPosix
import Platform
import ServiceLifecycle

/// Listens on a port, hands each connection to `setUp` on the one event loop, and ends: at an orderly stop it takes no more
/// connections and returns when each has had its answer; cancelled, it closes them as they are.
struct HTTPListener: Service {
    let loop: any EventLoop
    let host: String
    let port: Int
    let maxConnections: Int
    /// Says how many connections there are.
    let gauge: Gauge
    /// Adds a connection's handlers to its pipeline.
    let setUp: @Sendable (any Channel) throws -> Void
    /// Gets the port that is listened on.
    let onRunning: @Sendable (Int) async -> Void

    func run() async throws {
        let connections = try await loop.submit { [loop, maxConnections, gauge] in
            NIOLoopBound(Connections(loop, max: maxConnections, gauge), eventLoop: loop)
        }.get()
        let server = try await ServerBootstrap(group: loop)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    // Out of file descriptors it waits a little instead of trying without end.
                    try channel.pipeline.syncOperations.addHandler(AcceptBackoffHandler())
                    try channel.pipeline.syncOperations.addHandler(ConnectionLimit(connections.value))
                }
            }
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    connections.value.add(channel)
                    try setUp(channel)
                }
            }
            .bind(host: host, port: port).get()
        await onRunning(server.localAddress?.port ?? port)
        try? await gracefulShutdown()
        try? await server.close()
        let ended = try await loop.submit { connections.value.end() }.get()
        await withTaskCancellationHandler {
            try? await ended.get()
        } onCancel: {
            loop.execute { connections.value.closeAll() }
        }
    }
}

/// The connections there are. Used on the event loop's thread.
private final class Connections {
    private let loop: any EventLoop
    private let max: Int
    private let gauge: Gauge
    private var channels: [ObjectIdentifier: any Channel] = [:]
    private var ended: EventLoopPromise<Void>?
    /// Takes up accepting again.
    var onRoom: (() -> Void)?

    init(_ loop: any EventLoop, max: Int, _ gauge: Gauge) {
        self.loop = loop
        self.max = max
        self.gauge = gauge
    }

    var isFull: Bool { channels.count >= max }

    func add(_ channel: any Channel) {
        channels[ObjectIdentifier(channel)] = channel
        gauge.set(Double(channels.count))
        let (me, id) = (NIOLoopBound(self, eventLoop: loop), ObjectIdentifier(channel))
        channel.closeFuture.whenComplete { _ in me.value.remove(id) }
        // Accepted while the listener was on its way out.
        if ended != nil { channel.close(promise: nil) }
    }

    private func remove(_ id: ObjectIdentifier) {
        channels[id] = nil
        gauge.set(Double(channels.count))
        if channels.isEmpty { ended?.succeed() }
        if !isFull, let onRoom {
            self.onRoom = nil
            onRoom()
        }
    }

    /// Tells each that there will be no further request; the future is done when all have gone.
    func end() -> EventLoopFuture<Void> {
        if let ended { return ended.futureResult }
        let promise = loop.makePromise(of: Void.self)
        ended = promise
        if channels.isEmpty { promise.succeed() }
        for channel in channels.values { channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }
        return promise.futureResult
    }

    func closeAll() {
        for channel in channels.values { channel.close(promise: nil) }
    }
}

/// Accepts while there is room; further clients wait in the system's queue.
private final class ConnectionLimit: ChannelDuplexHandler {
    typealias InboundIn = Channel
    typealias InboundOut = Channel
    typealias OutboundIn = Never

    private let connections: Connections

    init(_ connections: Connections) { self.connections = connections }

    func read(context: ChannelHandlerContext) {
        if !connections.isFull { return context.read() }
        let context = NIOLoopBound(context, eventLoop: context.eventLoop)
        connections.onRoom = { context.value.read() }
    }
}
