import MetricModel

/// All targets by name.
let fuzzTargets: [String: @Sendable (UnsafeRawBufferPointer) -> Void] = [
    "exposition-text": { walkExposition($0, .text) },
    "exposition-openmetrics": { walkExposition($0, .openMetrics) },
    "promql": parsePromQL,
    "series-notation": parseNotation,
    "remote-write": decodeWriteRequest,
    "remote-read-chunk": decodeXORChunk,
    "relabel": relabelAnything,
    "template": renderTemplate,
    "store-chunk": decodeChunk,
    "store-row": decodeRow,
    "store-log": decodeLog,
    "store-file-log": { openStoreFile($0, "log-000000000001.sqlite") },
    "store-file-day": { openStoreFile($0, "day-2026-01-15.sqlite") },
    "etcd-snapshot": scanSnapshot,
    "etcd-messages": decodeEtcdMessages,
    "gzip": inflate,
    "dns": decodeDNS,
]
