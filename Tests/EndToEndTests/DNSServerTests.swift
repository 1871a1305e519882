import Glibc
import Platform
import TestSupport
import Testing

/// Questions to a real name server.
@Suite(.enabled(if: FileSystem.exists("/usr/sbin/dnsmasq"), "dnsmasq must be installed: scripts/deps test"))
struct DNSServerTests {
    @Test func recordsComeOverUDPAndWhereTheyAreManyOverTCP() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let port = try freePorts(1)[0]
        var arguments = [
            "/usr/sbin/dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
            "--port=\(port)", "--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file=", "--user=root",
            "--local=/test/", "--srv-host=_m._tcp.example.test,n1.example.test,9100",
            "--srv-host=_m._tcp.example.test,n2.example.test,9200", "--mx-host=example.test,mail.example.test,5",
        ]
        for n in 0..<100 {
            arguments.append("--srv-host=_many._tcp.example.test,a-long-name-\(n).example.test,\(9000 + n)")
        }
        let server = try Program(arguments, log: directory + "/log")
        var client = DNSClient()
        client.servers = [("127.0.0.1", UInt16(port))]
        client.search = ["nowhere.test", "example.test"]
        client.timeout = .seconds(2)
        let asked = client
        try await eventually("it answers: \(server.text)") { (try? asked.lookUp("example.test.", .mx)) != nil }
        let srv = try client.lookUp("_m._tcp.example.test", .srv)
        #expect(Set(srv.map { "\($0.target):\($0.port)" }) == ["n1.example.test.:9100", "n2.example.test.:9200"])
        #expect(try client.lookUp("example.test", .mx).map(\.target) == ["mail.example.test."])
        let many = try client.lookUp("_many._tcp.example.test", .srv)
        #expect(many.count == 100 && Set(many.map(\.port)).count == 100, "over TCP, for they do not fit a packet")
        #expect(try client.lookUp("_m._tcp", .srv).count == 2, "along the search list")
        #expect(try client.lookUp("nobody.example.test", .srv).isEmpty)
    }
}
