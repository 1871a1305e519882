import Glibc
import Logging
import Platform

/// `dns_sd_configs` for addresses (A, AAAA) through the system's resolver.
struct DNSDiscovery: Sendable {
    let names: [String]
    /// `A` or `AAAA`.
    let type: String
    let port: Int
    let refreshInterval: Int64

    func run(_ environment: DiscoveryEnvironment, update: @Sendable ([TargetGroup]) async -> Void) async {
        let failures = environment.metrics.counter(
            "kops_discovery_dns_failures_total", "Names that DNS discovery could not resolve.")
        var found: [String: TargetGroup] = [:]
        while !Task.isCancelled {
            for name in names {
                let (type, port) = (type, port)
                let addresses = try? await WorkerPool.blocking.run { resolve(name, type) }
                guard let addresses else {
                    failures.add()
                    environment.log.error("a name does not resolve", metadata: ["name": "\(name)"])
                    continue
                }
                let targets = addresses.map { address in
                    [
                        "__address__": address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)",
                        "__meta_dns_name": name,
                    ]
                }
                found[name] = TargetGroup(targets: targets, labels: [:], source: name)
            }
            await update(names.compactMap { found[$0] })
            try? await Task.sleep(for: .milliseconds(refreshInterval))
        }
    }
}

/// The numeric addresses of a name, sorted; nil where it does not resolve.
private func resolve(_ name: String, _ type: String) -> [String]? {
    var hints = addrinfo()
    hints.ai_family = type == "AAAA" ? AF_INET6 : AF_INET
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(name, nil, &hints, &list) == 0 else { return nil }
    defer { freeaddrinfo(list) }
    var out: Set<String> = []
    var next = list
    while let info = next?.pointee {
        var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        if getnameinfo(info.ai_addr, info.ai_addrlen, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST) == 0 {
            out.insert(String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))
        }
        next = info.ai_next
    }
    return out.sorted()
}
