import Monitoring
import Platform

/// The server that answers queries and rules where `storage.engine` is `remote`; else nil.
func makeRemoteEngine(_ config: SidecarConfig, client: HTTPClient, clock: WallClock) -> RemoteEngine? {
    guard config.storage.engine == .remote else { return nil }
    return RemoteEngine(url: config.storage.queryURL, config: config.storage.remoteClient, client: client, clock: clock)
}

extension SidecarConfig {
    /// Where samples are sent: the configured destinations, and the remote engine.
    var writeDestinations: [RemoteWriteConfig] {
        guard storage.engine == .remote else { return remoteWrite }
        var engine = RemoteWriteConfig(url: storage.writeURL, name: "storage-engine")
        engine.client = storage.remoteClient
        // Rules read what was written: it must be there soon.
        engine.queue.batchSendDeadline = 1000
        engine.queue.retryOn429 = true
        return [engine] + remoteWrite
    }
}
