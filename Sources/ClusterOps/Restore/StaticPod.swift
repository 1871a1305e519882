import Glibc
import Platform

/// The control plane's static pods as kubeadm lays them out: a manifest each in the directory that kubelet watches.
enum StaticPod {
    /// The API server first, so that nothing writes any more; etcd last.
    static let stopOrder = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"]

    /// The command-line flags in a manifest: lines like `- --name=cp1`. Empty where there is no such file.
    static func flags(_ path: String) -> [String: String] {
        guard let text = try? FileSystem.readText(path, maxBytes: 1 << 20) else { return [:] }
        return flags(text: text)
    }

    /// The node's name as its etcd has it, which kubeadm makes the node's own; without an etcd here the machine's.
    static func nodeName(_ kubernetesDirectory: String) -> String {
        for directory in ["/manifests", heldDirectory] {
            if let name = flags(kubernetesDirectory + directory + "/etcd.yaml")["name"] { return name }
        }
        return hostName()
    }

    /// Where a restore keeps manifests while their pods are stopped, below the directory of Kubernetes.
    static let heldDirectory = "/.kops-held-manifests"

    static func flags(text: String) -> [String: String] {
        var flags: [String: String] = [:]
        for line in text.split(separator: "\n") {
            var rest = line.drop { $0 == " " || $0 == "\t" }
            guard rest.hasPrefix("- ") else { continue }
            rest = rest.dropFirst(2).drop { $0 == " " }
            while let last = rest.last, last == " " || last == "\r" { rest = rest.dropLast() }
            if rest.count >= 2, let quote = rest.first, quote == "\"" || quote == "'", rest.last == quote {
                rest = rest.dropFirst().dropLast()
            }
            guard rest.hasPrefix("--"), let equals = rest.firstIndex(of: "=") else { continue }
            flags[String(rest[..<equals].dropFirst(2))] = String(rest[rest.index(after: equals)...])
        }
        return flags
    }

    /// Processes whose program has that name.
    static func processes(
        _ program: String, proc: String = "/proc", isOurs: ([String]) -> Bool = { _ in true }
    ) -> [Int] {
        ((try? FileSystem.list(proc)) ?? []).compactMap { name in
            guard let pid = Int(name), let line = try? FileSystem.read("\(proc)/\(name)/cmdline", maxBytes: 1 << 20)
            else { return nil }
            let words = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
            guard let first = words.first, FileSystem.name(of: first) == program, isOurs(words) else { return nil }
            return pid
        }
    }
}
