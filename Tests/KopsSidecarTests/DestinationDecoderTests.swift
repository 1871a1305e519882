import ClusterOps
import Testing

@testable import KopsSidecar

@Suite struct DestinationDecoderTests {
    private func decode(_ text: String) throws -> (options: DestinationOptions?, problems: [String]) {
        let issues = ConfigIssues()
        let node = try #require(try ConfigNode.parse(Array(text.utf8), file: "/etc/kops/a.yml"))
        let options = decodeDestination(try #require(ConfigSection(node, issues)))
        return (options, issues.all.map(\.description))
    }

    @Test func everyKeyOfAStoreIsTaken() throws {
        let (options, problems) = try decode(
            """
            name: offsite
            s3:
              endpoint: https://s3.example.com
              bucket: b
              prefix: p/q
              region: eu-central-1
              access_key_file: access
              secret_key_file: /keys/secret
              path_style: false
              ca_file: ca.pem
              server_side_encryption: aws:kms
              kms_key_id: k
              storage_class: STANDARD_IA
              object_lock: {mode: GOVERNANCE, for: 30d}
              part_size: 32MiB
              timeout: 2m
            retention: {keep_daily: 7, max_age: 90d, max_size: 10GiB, prune_on_demand: true}
            """)
        #expect(problems.isEmpty)
        guard case .s3(let s3)? = options?.place else {
            Issue.record("no store was decoded")
            return
        }
        #expect(s3.accessKeyFile == "/etc/kops/access" && s3.secretKeyFile == "/keys/secret")
        #expect(s3.objectLockMode == "GOVERNANCE" && s3.objectLockFor == 30 * 86_400_000)
        #expect(s3.partSize == 32 << 20 && s3.timeout == 120_000 && !s3.pathStyle)
        #expect(s3.serverSideEncryption == "aws:kms" && s3.kmsKeyID == "k" && s3.storageClass == "STANDARD_IA")
        #expect(options?.retention.maxSize == 10 << 30 && options?.retention.maxAge == 90 * 86_400_000)
    }

    @Test func aServerNeedsItsKeyAndOurs() throws {
        let (options, problems) = try decode(
            """
            name: nas
            sftp: {host: nas, user: u, path: /p, private_key_file: k, host_key_sha256: "SHA256:abc="}
            """)
        #expect(problems.isEmpty)
        guard case .sftp(let sftp)? = options?.place else {
            Issue.record("no server was decoded")
            return
        }
        #expect(sftp.privateKeyFile == "/etc/kops/k" && sftp.hostKeySHA256 == "abc" && sftp.port == 22)
        #expect(
            try decode("name: nas\nsftp: {host: nas, user: u, path: p}\n").problems == [
                "/etc/kops/a.yml:2:34: sftp.path: \"p\" must be absolute on the server",
                "/etc/kops/a.yml:2:7: sftp needs private_key_file or password_file",
                "/etc/kops/a.yml:2:7: sftp needs known_hosts_file or host_key_sha256: a server that is not known is not trusted",
            ])
    }

    @Test func whatIsWrongIsSaidWithItsPlace() throws {
        let store = "name: x\ns3: {bucket: b, access_key_file: a, secret_key_file: s, "
        for (text, part) in [
            ("name: x\n", "exactly one of path, s3 and sftp"),
            ("name: x\npath: /p\ns3: {bucket: b}\n", "exactly one of path, s3 and sftp"),
            ("name: a/b\npath: /p\n", "is no name for a destination"),
            (store + "endpoint: example.com}\n", "must be a URL"),
            (store + "part_size: 1MiB}\n", "between 5MiB and 5GiB"),
            (store + "kms_key_id: k}\n", "needs server_side_encryption: aws:kms"),
            (store + "object_lock: {mode: NONE, for: 1d}}\n", "GOVERNANCE"),
            (store + "buket: c}\n", "did you mean bucket?"),
            ("name: x\ns3: {bucket: b}\n", "access_key_file"),
        ] {
            let problems = try decode(text).problems
            #expect(problems.contains { $0.contains(part) }, "\(text) gave \(problems)")
            #expect(problems.allSatisfy { $0.hasPrefix("/etc/kops/a.yml:") })
        }
    }
}
