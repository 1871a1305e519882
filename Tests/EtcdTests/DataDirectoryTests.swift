import Platform
import Testing

@testable import Etcd

@Suite struct DataDirectoryTests {
    /// What etcdutl 3.5.16 wrote for member cp1 of one at https://10.0.0.11:2380 with the default token.
    private static let log = hexBytes(
        [
            "040000000000008408041000000000002000000000000000080110d5e998a60f1a1608bcde81c592a1fcdece0110f7bafdc1",
            "f7c7b4bdcb010e00000000000082080510afa4d389061a040800100000007100000000000087080210c795a28f0f1a670801",
            "10011801225f0800100018bcde81c592a1fcdece01224e7b226964223a31343839373332383136343035303037313335362c",
            "227065657255524c73223a5b2268747470733a2f2f31302e302e302e31313a32333830225d2c226e616d65223a2263703122",
            "7d0000000000000019000000000000870803109ab0d9800e1a0f080110bcde81c592a1fcdece011801000000000000001d00",
            "000000000083080510c399e689031a13080110011a0d08bcde81c592a1fcdece012800000000",
        ].joined())

    @Test func identifiersAreEtcds() throws {
        let one = try ClusterIdentity(initialCluster: "cp1=https://10.0.0.11:2380", token: "etcd-cluster")
        #expect(one.members[0].id == 0xcebd_f109_28a0_6f3c)
        #expect(one.clusterID == 0xcb7a_d23f_783f_5d77)
    }

    @Test func theLogOfOneMemberIsEtcdutls() throws {
        let one = try ClusterIdentity(initialCluster: "cp1=https://10.0.0.11:2380", token: "etcd-cluster")
        let records = WriteAheadLog.records(one, local: one.members[0])
        #expect(records == DataDirectoryTests.log.prefix(records.count).map { $0 })
        #expect(DataDirectoryTests.log.dropFirst(records.count).allSatisfy { $0 == 0 })
        let identity = try #require(WriteAheadLog.identity(records))
        #expect(identity.member == one.members[0].id)
        #expect(identity.cluster == one.clusterID)
    }

    @Test func snapAndLogOfThreeMembersAreEtcdutls() throws {
        let one = try ClusterIdentity(initialCluster: "cp1=https://10.0.0.11:2380", token: "etcd-cluster")
        let sum = hexadecimal(Digest.hash(.sha256, RaftSnapshot.file(one)))
        #expect(sum == "6c2af4956ff4bce8cde0966adb25a02bc074e6cc3aefc7fbe36784549fc6a55f")
        // And what 3.6.14 wrote, for a snapshot of a 3.6 cluster.
        let later = hexadecimal(Digest.hash(.sha256, RaftSnapshot.file(one, form: .v36)))
        #expect(later == "18b55fed4fa9dbc1f1c668b51c71c0bc5c551f92fb9b7bbe06f4381e91cc4ee5")
        let list = "cp1=https://10.0.0.11:2380,cp2=https://10.0.0.12:2380,cp3=https://10.0.0.13:2380"
        let three = try ClusterIdentity(initialCluster: list, token: "etcd-cluster")
        let sum3 = hexadecimal(Digest.hash(.sha256, RaftSnapshot.file(three)))
        #expect(sum3 == "82461c3ca868d53c06e82e36c0de20f3c6d4181d98793d52274ed512c133a5f8")
        var log = WriteAheadLog.records(three, local: try three.member(named: "cp1"))
        #expect(log.count <= 552)
        log += [UInt8](repeating: 0, count: max(0, 552 - log.count))
        let sumLog = hexadecimal(Digest.hash(.sha256, log))
        #expect(sumLog == "cda909c4a0b8257add2e93a0d80b233a52acbdeb73c880770ba1e3be5ba2521f")
    }

    @Test(arguments: [
        "", "cp1", "=http://a:1", "cp1=ftp://a:1", "cp1=http://a", "cp1=http://a:1/x", "cp1=http://:1",
        "cp1=http://a:99999", "a=http://a:1,b=http://a:1", "a=http://::1:2380", "a=http://a:1,",
    ]) func badInitialClustersAreRefused(_ text: String) {
        #expect(throws: EtcdError(.invalidArgument, "")) {
            try ClusterIdentity(initialCluster: text, token: "t")
        }
    }

    @Test func goodInitialClustersAreTaken() throws {
        let text = "a=http://[::1]:2380,a=http://b:2380,c=https://10.0.0.1:1"
        let cluster = try ClusterIdentity(initialCluster: text, token: "t")
        #expect(cluster.members.count == 2)
        let a = try cluster.member(named: "a", advertising: ["http://b:2380", "http://[::1]:2380"])
        #expect(a.peerURLs == ["http://[::1]:2380", "http://b:2380"])
        #expect(throws: EtcdError(.invalidArgument, "")) { try cluster.member(named: "b") }
        #expect(throws: EtcdError(.invalidArgument, "")) { try cluster.member(named: "a", advertising: ["http://b:1"]) }
    }

    @Test func namesAreEscapedAsGoDoes() {
        #expect(jsonQuoted("a<b>&\"\\\n\u{1}\u{2028}ü") == "\"a\\u003cb\\u003e\\u0026\\\"\\\\\\n\\u0001\\u2028ü\"")
    }
}

func hexBytes(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    var high: UInt8?
    for c in text {
        guard let digit = c.hexDigitValue.map({ UInt8($0) }) else { continue }
        if let h = high {
            bytes.append(h << 4 | digit)
            high = nil
        } else {
            high = digit
        }
    }
    return bytes
}
