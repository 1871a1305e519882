import Platform

/// One entry of `remote_write`, with Prometheus' keys and defaults. Times are milliseconds.
package struct RemoteWriteConfig: Sendable, Equatable {
    package var url: String
    /// As configured, or made from the URL.
    package var name: String
    package var timeout: Int64 = 30_000
    package var headers: [HTTPClientConfig.Header] = []
    package var relabel: [RelabelConfig] = []
    package var client = HTTPClientConfig()
    package var queue = Queue()
    package var metadata = Metadata()

    package struct Queue: Sendable, Equatable {
        package var maxShards = 50
        package var minShards = 1
        package var maxSamplesPerSend = 2000
        package var batchSendDeadline: Int64 = 5000
        package var minBackoff: Int64 = 30
        package var maxBackoff: Int64 = 5000
        package var retryOn429 = false
        /// Samples older than this are dropped; 0: none are.
        package var sampleAgeLimit: Int64 = 0

        package init() {}
    }

    package struct Metadata: Sendable, Equatable {
        package var send = true
        package var interval: Int64 = 60_000
        package var maxPerSend = 2000

        package init() {}
    }

    package init(url: String, name: String? = nil) {
        self.url = url
        self.name = name ?? String(hexadecimal(Digest.hash(.sha256, Array(url.utf8))).prefix(6))
    }
}
