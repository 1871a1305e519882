import Glibc
import Logging
import Platform

/// `dns_sd_configs`: addresses (A, AAAA) through the system's resolver, other records (SRV, MX, NS) from its name servers.
struct DNSDiscovery: Sendable {
    let names: [String]
    /// `A`, `AAAA`, `SRV`, `MX` or `NS`.
    let type: String
    /// Not for SRV, whose records name it.
    let port: Int
    let refreshInterval: Int64

    func run(_ environment: DiscoveryEnvironment, update: @Sendable ([TargetGroup]) async -> Void) async {
        let failures = environment.metrics.counter(
            "kops_discovery_dns_failures_total", "Names that DNS discovery could not resolve.")
        var found: [String: TargetGroup] = [:]
        while !Task.isCancelled {
            for name in names {
                let (type, port) = (type, port)
                let targets: [[String: String]]
                do {
                    targets = try await WorkerPool.blocking.run { try targetsOf(name, type, port) }
                } catch {
                    failures.add()
                    environment.log.error(
                        "a name does not resolve", metadata: ["name": "\(name)", "error": "\(error)"])
                    continue
                }
                found[name] = TargetGroup(targets: targets, labels: [:], source: name)
            }
            await update(names.compactMap { found[$0] })
            try? await Task.sleep(for: .milliseconds(refreshInterval))
        }
    }
}

/// Targets with the labels that Prometheus gives them.
private func targetsOf(_ name: String, _ type: String, _ port: Int) throws -> [[String: String]] {
    let kinds: [String: DNSMessage.RecordType] = ["SRV": .srv, "MX": .mx, "NS": .ns]
    guard let kind = kinds[type] else {
        guard let addresses = resolve(name, type) else { throw DNSClient.Failure("it has no address") }
        return addresses.map { address in
            [
                "__address__": address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)",
                "__meta_dns_name": name,
            ]
        }
    }
    // Read each time: it changes when the network does.
    let text = (try? FileSystem.readText("/etc/resolv.conf", maxBytes: 1 << 20)) ?? ""
    return dnsTargets(name, kind, port, try DNSClient(resolvConf: text).lookUp(name, kind))
}

/// One target for each record, as Prometheus makes them.
func dnsTargets(
    _ name: String, _ kind: DNSMessage.RecordType, _ port: Int, _ records: [DNSMessage.Record]
) -> [[String: String]] {
    records.map { record in
        var host = record.target
        while host.hasSuffix(".") { host.removeLast() }
        var labels = ["__meta_dns_name": name]
        switch kind {
        case .srv:
            labels["__address__"] = "\(host):\(record.port)"
            labels["__meta_dns_srv_record_target"] = record.target
            labels["__meta_dns_srv_record_port"] = String(record.port)
        case .mx:
            labels["__address__"] = "\(host):\(port)"
            labels["__meta_dns_mx_record_target"] = record.target
        case .ns:
            labels["__address__"] = "\(host):\(port)"
            labels["__meta_dns_ns_record_target"] = record.target
        }
        return labels
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
