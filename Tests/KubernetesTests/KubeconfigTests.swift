import Platform
import TestSupport
import Testing

@testable import Kubernetes

private func write(_ text: String, _ name: String = "config") throws -> String {
    let path = try scratchDirectory() + "/" + name
    try AtomicFile.write(Array(text.utf8), to: path)
    return path
}

private func kubeconfig(user: String, cluster: String = "server: https://10.0.0.1:6443") -> String {
    """
    apiVersion: v1
    kind: Config
    current-context: a
    clusters:
    - {name: one, cluster: {\(cluster)}}
    contexts:
    - {name: a, context: {cluster: one, user: me, namespace: kube-system}}
    - {name: lost, context: {cluster: gone, user: me}}
    users:
    - name: me
      user: {\(user)}
    """
}

@Suite struct KubeconfigTests {
    @Test func readsCertificatesFromDataAndFiles() throws {
        let path = try write(
            kubeconfig(
                user: "client-certificate-data: Q0VSVA==, client-key: keys/me.key",
                cluster: "server: https://10.0.0.1:6443/, certificate-authority-data: Q0E=, proxy-url: http://p:1"))
        let access = try Kubeconfig.load(path: path)
        #expect(access.server == "https://10.0.0.1:6443")
        #expect(access.tls.caPEM == "CA")
        #expect(access.tls.certPEM == "CERT")
        #expect(access.tls.keyFile == FileSystem.parent(of: path) + "/keys/me.key")
        #expect(access.proxy == "http://p:1")
        #expect(access.namespace == "kube-system")
        #expect(access.origin == .kubeconfig(path: path, context: nil))
    }

    @Test(arguments: [
        ("exec: {command: aws-iam-authenticator}", "aws-iam-authenticator"),
        ("auth-provider: {name: oidc}", "oidc"),
    ])
    func refusesLoginProgramsByName(user: String, name: String) throws {
        let path = try write(kubeconfig(user: user))
        #expect {
            try Kubeconfig.load(path: path)
        } throws: { error in
            "\(error)".contains(name) && "\(error)".contains("not supported") && "\(error)".hasPrefix(path)
        }
    }

    @Test func saysWhatIsMissing() throws {
        let path = try write(kubeconfig(user: "token: t"))
        #expect(throws: ClusterAccessError("\(path): has no context \"b\"; it has a, lost")) {
            try Kubeconfig.load(path: path, context: "b")
        }
        #expect(throws: ClusterAccessError.self) { try Kubeconfig.load(path: path, context: "lost") }
        #expect(throws: ClusterAccessError.self) { try Kubeconfig.load(path: try write("- 1\n- 2")) }
        #expect(throws: ClusterAccessError.self) { try Kubeconfig.load(path: try write("{ not yaml")) }
        #expect(throws: ClusterAccessError.self) {
            try Kubeconfig.load(path: try write(kubeconfig(user: "client-key-data: '%%%'")))
        }
        #expect(throws: ClusterAccessError.self) { try Kubeconfig.load(path: "/nowhere/admin.conf") }
    }

    @Test func findsTheClusterAroundAPod() throws {
        let directory = try scratchDirectory()
        let environment = ["KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"]
        #expect(throws: ClusterAccessError.self) {
            try ClusterAccess.inCluster(environment: [:], directory: directory)
        }
        #expect(throws: ClusterAccessError.self) {
            try ClusterAccess.inCluster(environment: environment, directory: directory)
        }
        for (name, text) in [("token", "abc\n"), ("ca.crt", "CA"), ("namespace", "monitoring")] {
            try AtomicFile.write(Array(text.utf8), to: "\(directory)/\(name)")
        }
        let access = try ClusterAccess.inCluster(environment: environment, directory: directory)
        #expect(access.server == "https://[fd00::1]:443")
        #expect(access.tokenFile == directory + "/token")
        #expect(access.namespace == "monitoring")
    }
}

@Suite struct ValueTests {
    @Test(arguments: [
        ("250m", 0.25), ("16Gi", 17_179_869_184), ("1e3", 1000), ("4", 4), ("100k", 100_000), ("1500n", 0.0000015),
        ("0.5", 0.5), ("12345678Ki", 12_641_974_272), ("110", 110),
    ])
    func quantities(text: String, value: Double) { #expect(Quantity(text).value == value) }

    @Test func notQuantities() {
        for text in ["", "Gi", "1x", "nan", "1GiB", "inf"] { #expect(Quantity(text).value == nil, "\(text)") }
    }

    @Test func times() {
        #expect(parseRFC3339Microseconds("2026-11-23T22:34:18.621920Z") == 1_795_473_258_621_920)
        #expect(parseRFC3339Microseconds("2026-11-23T22:34:18Z") == 1_795_473_258_000_000)
        #expect(parseRFC3339Microseconds("2026-11-24T00:34:18.5+02:00") == 1_795_473_258_500_000)
        #expect(parseRFC3339Microseconds("2026-11-23T22:34:18.123456789Z") == 1_795_473_258_123_456)
        for text in ["", "2026-11-23", "2026-11-23T22:34:18", "2026-13-23T22:34:18Z", "2026-11-23T22:34:18.Z"] {
            #expect(parseRFC3339Microseconds(text) == nil, "\(text)")
        }
        #expect(MicroTime(microseconds: 1_795_473_258_000_042).text == "2026-11-23T22:34:18.000042Z")
        #expect(MicroTime(microseconds: -1).text == "1969-12-31T23:59:59.999999Z")
    }

    @Test func paceLetsABurstGoAndThenSpaces() {
        let pace = RequestPace(perSecond: 10, burst: 3)
        #expect((0..<3).map { _ in pace.take(now: 1_000_000_000) } == [0, 0, 0])
        #expect(pace.take(now: 1_000_000_000) == 100_000_000)
        #expect(pace.take(now: 1_000_000_000) == 200_000_000)
        #expect(pace.take(now: 9_000_000_000) == 0)
    }
}
