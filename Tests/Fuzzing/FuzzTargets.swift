import FuzzWalks
import MetricModel

/// All targets by name.
let fuzzTargets: [String: @Sendable (UnsafeRawBufferPointer) -> Void] = [
    "exposition-text": { sound(walkExposition($0, .text)) },
    "exposition-openmetrics": { sound(walkExposition($0, .openMetrics)) },
    "promql": parsePromQL,
    "series-notation": parseNotation,
    "remote-write": { sound(decodeWriteRequest($0)) },
    "remote-read-chunk": decodeXORChunk,
    "relabel": { sound(relabelAnything($0)) },
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

private func sound(_ problem: String?) { check(problem == nil, problem ?? "") }
