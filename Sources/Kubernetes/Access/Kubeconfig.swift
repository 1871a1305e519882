import FoundationEssentials
import Platform
import Yams

/// A kubeconfig file, of which one context is chosen.
package enum Kubeconfig {
    /// Reads the file's current context, or the named one. Relative paths in it count from its directory. Users that need
    /// a program to log in (`exec`, `auth-provider`) are refused by name: a sidecar must not depend on one.
    package static func load(path: String, context: String? = nil) throws(ClusterAccessError) -> ClusterAccess {
        let text: String
        do {
            text = try FileSystem.readText(path, maxBytes: 1 << 20)
        } catch {
            throw ClusterAccessError("\(error)")
        }
        let file: File
        do {
            file = try YAMLDecoder().decode(File.self, from: text)
        } catch {
            throw ClusterAccessError("\(path): is not a kubeconfig: \(firstLine("\(error)"))")
        }
        var access = try choose(file, path: path, context: context)
        access.origin = .kubeconfig(path: path, context: context)
        return access
    }

    private static func choose(_ file: File, path: String, context: String?) throws(ClusterAccessError) -> ClusterAccess
    {
        let name = context ?? file.currentContext ?? ""
        if name.isEmpty { throw ClusterAccessError("\(path): has no current-context; name one") }
        guard let chosen = file.contexts?.first(where: { $0.name == name })?.context else {
            let known = (file.contexts ?? []).map(\.name).joined(separator: ", ")
            throw ClusterAccessError("\(path): has no context \"\(name)\"; it has \(known.isEmpty ? "none" : known)")
        }
        guard let cluster = file.clusters?.first(where: { $0.name == chosen.cluster })?.cluster else {
            throw ClusterAccessError(
                "\(path): context \"\(name)\" names the cluster \"\(chosen.cluster ?? "")\", which is not there")
        }
        guard let server = cluster.server, server.hasPrefix("https://") || server.hasPrefix("http://") else {
            throw ClusterAccessError("\(path): cluster \"\(chosen.cluster ?? "")\" has no server with https://")
        }
        var access = ClusterAccess(server: server)
        access.namespace = chosen.namespace ?? "default"
        access.proxy = cluster.proxyURL
        access.tls.serverName = cluster.tlsServerName
        access.tls.insecureSkipVerify = cluster.insecure ?? false
        (access.tls.caFile, access.tls.caPEM) = try material(
            cluster.ca, cluster.caData, "certificate-authority-data", path)
        guard let user = chosen.user, !user.isEmpty else { return access }
        guard let identity = file.users?.first(where: { $0.name == user })?.user else {
            throw ClusterAccessError("\(path): context \"\(name)\" names the user \"\(user)\", which is not there")
        }
        try refusePlugins(identity, user: user, path: path)
        (access.tls.certFile, access.tls.certPEM) = try material(
            identity.certificate, identity.certificateData, "client-certificate-data", path)
        (access.tls.keyFile, access.tls.keyPEM) = try material(identity.key, identity.keyData, "client-key-data", path)
        access.tokenFile = identity.tokenFile.map { FileSystem.resolve($0, in: FileSystem.parent(of: path)) }
        access.token = identity.token
        if let name = identity.username {
            access.basicAuth = ClusterAccess.Credentials(user: name, password: identity.password ?? "")
        }
        return access
    }

    private static func refusePlugins(_ user: User, user name: String, path: String) throws(ClusterAccessError) {
        if let exec = user.exec {
            throw ClusterAccessError(
                "\(path): user \"\(name)\" logs in through the program \"\(exec.command ?? "")\" (exec), which is not "
                    + "supported; use a client certificate (kubeadm kubeconfig user) or a token file")
        }
        if let provider = user.authProvider {
            throw ClusterAccessError(
                "\(path): user \"\(name)\" logs in through the auth-provider \"\(provider.name ?? "")\", which is not "
                    + "supported; use a client certificate (kubeadm kubeconfig user) or a token file")
        }
    }

    /// Data in the file wins over a path, as in kubectl.
    private static func material(_ file: String?, _ data: String?, _ key: String, _ path: String)
        throws(ClusterAccessError) -> (file: String?, pem: String?)
    {
        if let data, !data.isEmpty {
            guard let bytes = Data(base64Encoded: String(data.filter { !$0.isWhitespace })) else {
                throw ClusterAccessError("\(path): \(key) is not base64")
            }
            return (nil, String(decoding: bytes, as: UTF8.self))
        }
        guard let file, !file.isEmpty else { return (nil, nil) }
        return (FileSystem.resolve(file, in: FileSystem.parent(of: path)), nil)
    }
}

private func firstLine(_ text: String) -> String { String(text.prefix { !$0.isNewline }) }

// The file's own shape; keys that decide nothing here are left out.
private struct File: Decodable {
    var currentContext: String?
    var clusters: [NamedCluster]?
    var contexts: [NamedContext]?
    var users: [NamedUser]?
    enum CodingKeys: String, CodingKey {
        case currentContext = "current-context"
        case clusters, contexts, users
    }
}

private struct NamedCluster: Decodable {
    var name: String
    var cluster: Cluster?
}

private struct NamedContext: Decodable {
    var name: String
    var context: Context?
}

private struct NamedUser: Decodable {
    var name: String
    var user: User?
}

private struct Context: Decodable {
    var cluster: String?
    var user: String?
    var namespace: String?
}

private struct Cluster: Decodable {
    var server: String?
    var ca: String?
    var caData: String?
    var insecure: Bool?
    var tlsServerName: String?
    var proxyURL: String?
    enum CodingKeys: String, CodingKey {
        case server
        case ca = "certificate-authority"
        case caData = "certificate-authority-data"
        case insecure = "insecure-skip-tls-verify"
        case tlsServerName = "tls-server-name"
        case proxyURL = "proxy-url"
    }
}

private struct User: Decodable {
    struct Exec: Decodable { var command: String? }
    struct Provider: Decodable { var name: String? }
    var certificate: String?
    var certificateData: String?
    var key: String?
    var keyData: String?
    var token: String?
    var tokenFile: String?
    var username: String?
    var password: String?
    var exec: Exec?
    var authProvider: Provider?
    enum CodingKeys: String, CodingKey {
        case certificate = "client-certificate"
        case certificateData = "client-certificate-data"
        case key = "client-key"
        case keyData = "client-key-data"
        case token, tokenFile, username, password, exec
        case authProvider = "auth-provider"
    }
}
