package import ClusterOps
import Platform

/// Certificates, what the ports show, and findings, as the API and `certs status` tell them.
package func writeCertificates(_ writer: inout JSONWriter, _ seen: CertificateWatch.Seen, now: Int64) {
    writer.object { writer in
        writer.key("certificates")
        writer.array(seen.certificates) { writer, watched in writeCertificate(&writer, watched, now: now) }
        writer.key("served")
        writer.array(seen.served) { writer, state in
            writer.object { writer in
                write(&writer, "component", state.endpoint.component)
                write(&writer, "address", state.endpoint.address)
                write(&writer, "file", state.endpoint.file ?? "")
                switch state.served {
                case .success(let certificate):
                    write(&writer, "serial", certificate.serial)
                    write(&writer, "notAfter", formatRFC3339(certificate.notAfter))
                    writer.key("daysLeft")
                    writer.int((certificate.notAfter - now) / 86_400_000)
                case .failure(let failure):
                    write(&writer, "problem", failure.description)
                }
                writer.key("isCurrent")
                if let current = state.showsFile { writer.bool(current) } else { writer.null() }
            }
        }
        writer.key("findings")
        writer.array(seen.findings) { writer, finding in
            writer.object { writer in
                write(&writer, "path", finding.path)
                write(&writer, "finding", finding.kind.rawValue)
                write(&writer, "problem", finding.problem)
                write(&writer, "advice", finding.advice)
                writer.key("urgent")
                writer.bool(finding.isUrgent)
            }
        }
        writer.key("problems")
        writer.strings(seen.problems)
    }
}

private func writeCertificate(_ writer: inout JSONWriter, _ watched: WatchedCertificate, now: Int64) {
    writer.object { writer in
        write(&writer, "path", watched.path)
        write(&writer, "kind", watched.kind)
        write(&writer, "subject", watched.certificate.subject)
        write(&writer, "issuer", watched.certificate.issuer)
        write(&writer, "serial", watched.certificate.serial)
        write(&writer, "notBefore", formatRFC3339(watched.certificate.notBefore))
        write(&writer, "notAfter", formatRFC3339(watched.certificate.notAfter))
        writer.key("daysLeft")
        writer.int(watched.daysLeft(at: now))
    }
}

private func write(_ writer: inout JSONWriter, _ name: String, _ text: String) {
    writer.key(name)
    writer.string(text)
}
