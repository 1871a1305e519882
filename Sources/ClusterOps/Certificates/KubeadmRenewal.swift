import Glibc
import Platform

/// One call of `kubeadm certs renew`, and the proof that it did what it says: kubeadm also ends well having done nothing, for
/// a file that is missing or an authority whose key is elsewhere. Calls block.
struct KubeadmRenewal {
    let options: RenewalOptions
    /// The copy of the Kubernetes directory.
    let copy: String
    let renewBefore: Int64

    /// Returns a note where there is something to know. `lock` stays with kubeadm while it runs.
    func renew(_ which: KubeadmCertificate, _ item: RenewalPlan.Item, _ lock: Int32) throws -> String? {
        let layout = options.layout
        // Done before a kill, and whole.
        if let found = try? layout.certificate(which), found.serial != item.oldSerial,
            let note = try? check(which, item)
        {
            return note.isEmpty ? nil : note
        }
        var arguments = ["certs", "renew", which.name]
        if let config = options.config {
            arguments += ["--config", config]
        } else if layout.pki != layout.kubernetesDirectory + "/pki" {
            // Without the API server kubeadm would take its default.
            arguments += ["--cert-dir", layout.pki]
        }
        let result = try ChildProgram.run(
            options.kubeadm, arguments, environment: ["KUBECONFIG": layout.kubernetesDirectory + "/admin.conf"],
            inherit: lock, timeout: .seconds(180))
        if result.timedOut { throw RenewalError("`kubeadm certs renew \(which.name)` did not end in 180 s") }
        guard result.status == 0 else {
            throw RenewalError(
                "`kubeadm certs renew \(which.name)` ended with status \(result.status): \(firstError(result))")
        }
        do {
            let note = try check(which, item)
            return note.isEmpty ? nil : note
        } catch {
            throw RenewalError("kubeadm ended well, but \(error) (it said: \(result.lastLine))")
        }
    }

    private func firstError(_ result: ProgramResult) -> String {
        let line = result.output.split(separator: "\n").first { $0.contains("error") }.map(String.init)
        return String((line ?? result.lastLine).prefix(500))
    }

    /// Throws what is wrong with the new certificate; returns a note or an empty text.
    private func check(_ which: KubeadmCertificate, _ item: RenewalPlan.Item) throws -> String {
        let layout = options.layout
        let path = layout.path(which)
        let pair = try layout.pair(which)
        let new = try layout.certificate(which)
        if new.serial == item.oldSerial { throw RenewalError("\(path) still holds serial \(item.oldSerial)") }
        if Certificate.matches(pem: pair.pem, key: pair.key) != true {
            throw RenewalError("\(path) and its key do not belong together")
        }
        if new.notAfter < item.oldNotAfter { throw RenewalError("\(path) now ends earlier than before") }
        let authority = layout.authorityPath(which)
        if Certificate.isSigned(pem: pair.pem, by: try FileSystem.read(authority, maxBytes: 1 << 20)) != true {
            throw RenewalError("\(path) is not signed by \(authority)")
        }
        let oldPath = try copied(path, layout, copy)
        let bytes = try FileSystem.read(oldPath, maxBytes: 4 << 20)
        let oldPEM = which.isKubeconfig ? KubeconfigText(bytes).clientCertificate ?? [] : bytes
        if let old = Certificate.read(pem: oldPEM)?.first {
            if old.subject != new.subject {
                throw RenewalError("\(path) is now for \(new.subject), and was for \(old.subject)")
            }
            if old.sortedNames != new.sortedNames {
                throw RenewalError("\(path) is now for the names \(new.names), and was for \(old.names)")
            }
        }
        let left = new.notAfter - WallClock.system.nowMilliseconds()
        if left < renewBefore { return "\(which.name) was renewed for \(left / 86_400_000) days only" }
        return ""
    }
}

/// Copies of admin.conf that people keep, such as /root/.kube/config. Calls block.
enum AdminCopy {
    /// Replaces a copy of the old admin.conf by the new one, or within a file that holds more, the old certificate and key.
    /// Returns a note where the file was left alone.
    static func refresh(_ path: String, from new: String, old: String) throws -> String? {
        let fresh = try FileSystem.read(new, maxBytes: 4 << 20)
        guard let status = try FileSystem.status(path) else {
            return "\(path) is not there, and was not made"
        }
        let was = try FileSystem.read(old, maxBytes: 4 << 20)
        let current = try FileSystem.read(path, maxBytes: 4 << 20)
        if current == fresh { return nil }
        if current == was {
            try FileCopies.write(fresh, to: path, like: status)
            return nil
        }
        var text = String(decoding: current, as: UTF8.self)
        let (before, after) = (KubeconfigText(was), KubeconfigText(fresh))
        for key in ["client-certificate-data", "client-key-data"] {
            guard let old = before.text(key), let new = after.text(key) else { continue }
            guard text.contains(old) else {
                if text.contains(new) { continue }
                return "\(path) is no copy of the old admin.conf, and was left alone"
            }
            text = text.split(separator: old, omittingEmptySubsequences: false).joined(separator: new)
        }
        try FileCopies.write(Array(text.utf8), to: path, like: status)
        return nil
    }
}
