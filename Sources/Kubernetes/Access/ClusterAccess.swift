package import Platform

/// Where a cluster's API server is and how to identify oneself. A value; nothing of it is ever printed.
package struct ClusterAccess: Sendable, Hashable {
    /// `https://host:port`, without a slash at the end.
    package var server: String
    /// The CA and the client certificate, as files or as PEM texts.
    package var tls = TLSSettings()
    package var token: String?
    /// Read anew for each request, since service account tokens change by the hour. Takes the place of `token`.
    package var tokenFile: String?
    package var basicAuth: Credentials?
    package var proxy: String?
    /// The namespace that the kubeconfig's context or the pod names.
    package var namespace = "default"
    /// Where it was read from, so that a renewed client certificate is noticed; nil where it was put together by hand.
    package var origin: Origin?

    package struct Credentials: Sendable, Hashable {
        package var user: String
        package var password: String
        /// Read for each request; takes the place of `password`.
        package var passwordFile: String?

        package init(user: String, password: String, passwordFile: String? = nil) {
            self.user = user
            self.password = password
            self.passwordFile = passwordFile
        }
    }

    package enum Origin: Sendable, Hashable {
        case kubeconfig(path: String, context: String?)
        case inCluster
    }

    package init(server: String) {
        self.server = server
        while self.server.hasSuffix("/") { self.server.removeLast() }
    }
}

extension ClusterAccess {
    /// The same for two accesses that were read from the same place, whatever certificate was in it at the time.
    var place: ClusterAccess {
        guard let origin else { return self }
        var place = ClusterAccess(server: server)
        place.origin = origin
        return place
    }
}

/// Why there is no access. One line that says what to do.
package struct ClusterAccessError: Error, Sendable, Hashable, CustomStringConvertible {
    package let description: String

    package init(_ description: String) { self.description = description }
}

extension ClusterAccess {
    private static let accountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount"

    /// From what Kubernetes puts into every pod. `environment` and `directory` are the pod's unless a test gives others.
    package static func inCluster(
        environment: [String: String] = podEnvironment(), directory: String = accountDirectory
    ) throws(ClusterAccessError) -> ClusterAccess {
        guard let host = environment["KUBERNETES_SERVICE_HOST"], !host.isEmpty,
            let port = environment["KUBERNETES_SERVICE_PORT"], !port.isEmpty
        else {
            throw ClusterAccessError(
                "this is not a pod of a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; "
                    + "name a kubeconfig")
        }
        let tokenFile = directory + "/token"
        let caFile = directory + "/ca.crt"
        for file in [tokenFile, caFile] where !FileSystem.exists(file) {
            throw ClusterAccessError("this pod has no service account: \(file) is missing; name a kubeconfig")
        }
        var access = ClusterAccess(server: "https://\(host.contains(":") ? "[\(host)]" : host):\(port)")
        access.tokenFile = tokenFile
        access.tls.caFile = caFile
        if let text = try? FileSystem.readText(directory + "/namespace", maxBytes: 4096) {
            let name = text.filter { !$0.isWhitespace }
            if !name.isEmpty { access.namespace = name }
        }
        access.origin = .inCluster
        return access
    }
}
