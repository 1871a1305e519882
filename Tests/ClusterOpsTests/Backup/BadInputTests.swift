import Etcd
import Glibc
import Platform
import TestSupport
import Testing

@testable import ClusterOps

/// What can be wrong around a backup: each is one clear line, and a good backup never suffers.
@Suite(.enabled(if: EtcdProcess.isThere), .serialized) struct BadInputTests {
    private func message(_ body: () async throws -> Void) async -> BackupError? {
        do {
            try await body()
            return nil
        } catch let error as BackupError {
            #expect(!error.message.contains("\n"))
            return error
        } catch {
            Issue.record("not a clear line: \(error)")
            return nil
        }
    }

    @Test func anEtcdThatIsFullIsBackedUp() async throws {
        let etcd = try EtcdProcess(extra: ["--quota-backend-bytes", "2000000"])
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        let http = HTTPClient(name: "full")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: [etcd.endpoint], tls: TLSSettings(), http: http)
        var full = false
        for i in 0..<200 where !full {
            do {
                try await client.transaction([
                    .put(key: Array("/k\(i)".utf8), value: [UInt8](repeating: UInt8(i), count: 100_000))
                ])
            } catch let error as EtcdError where error.code == .noSpace { full = true }
        }
        #expect(full)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let backup = try await service(etcd, [place]).backupNow(onDemand: false)
        let outcome = try await BackupVerifier.verify(backup.path, destinations: [], workDirectory: etcd.directory)
        #expect(outcome.problem == nil)
    }

    @Test func aMemberWithoutALeaderIsBackedUp() async throws {
        let ports = try (0..<3).map { _ in (client: try freePort(), peer: try freePort()) }
        let cluster = ports.enumerated().map { "m\($0.offset)=http://127.0.0.1:\($0.element.peer)" }.joined(
            separator: ",")
        let members = try ports.enumerated().map {
            try EtcdProcess(name: "m\($0.offset)", ports: $0.element, initialCluster: cluster)
        }
        defer { for member in members { try? FileSystem.removeTree(member.directory) } }
        for member in members { try await member.waitUntilServing() }
        try await fill(members[0], keys: 200)
        members[1].kill()
        members[2].kill()
        let http = HTTPClient(name: "leaderless")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: [members[0].endpoint], tls: TLSSettings(), http: http)
        try await eventually("the leader is missed") { try await client.status(members[0].endpoint).leader == 0 }
        let place = LocalDestination(name: "local", path: members[0].directory + "/backups")
        let backup = try await service(members[0], [place]).backupNow(onDemand: false)
        #expect(backup.manifest.revision == 3)
    }

    @Test func certificatesThatCannotWorkAreNamed() async throws {
        let etcd = try EtcdProcess()
        etcd.kill()
        defer { try? FileSystem.removeTree(etcd.directory) }
        let directory = etcd.directory
        let run = try runProgram([
            "/bin/sh", "-c",
            """
            cd \(directory) && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout old.key -out old.crt \
            -subj /CN=old -days 1 2>/dev/null
            """,
        ])
        #expect(run.status == 0, "\(run.output)")
        let place = LocalDestination(name: "local", path: directory + "/backups")
        func attempt(_ change: (inout EtcdOptions) -> Void) async -> BackupError? {
            var options = BackupOptions()
            options.include = []
            var access = EtcdOptions()
            access.endpoints = ["https://127.0.0.1:\(etcd.clientPort)"]
            access.ca = nil
            access.cert = directory + "/old.crt"
            access.key = directory + "/old.key"
            change(&access)
            let service = BackupService(
                options: options, etcd: access, destinations: [place], registry: MetricRegistry(),
                logger: quietLogger(), clock: WallClock { WallClock.system.nowMilliseconds() + 2 * 86_400_000 },
                toolVersion: "test")
            return await message { _ = try await service.backupNow(onDemand: true) }
        }
        let expired = await attempt { _ in }
        #expect(expired?.message.contains("old.crt expired") == true, "\(expired?.message ?? "")")
        let missing = await attempt { $0.cert = directory + "/none.crt" }
        #expect(missing?.message.contains("none.crt") == true, "\(missing?.message ?? "")")
    }

    /// An etcd that serves by TLS and wants certificates of its own CA: what is of another is refused in words that help.
    @Test func certificatesOfAnotherAuthorityAreToldFromGoodOnes() async throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let run = try runProgram([
            "/bin/sh", "-ec",
            """
            cd \(directory); ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
            echo subjectAltName=IP:127.0.0.1 > san
            for ca in own other; do
                openssl req -x509 $ec -keyout $ca-ca.key -out $ca-ca.crt -subj /CN=$ca -days 2
                openssl req $ec -keyout $ca.key -out $ca.csr -subj /CN=$ca-client
                openssl x509 -req -in $ca.csr -CA $ca-ca.crt -CAkey $ca-ca.key -CAcreateserial -out $ca.crt -days 2 -extfile san
            done
            """,
        ])
        #expect(run.status == 0, "\(run.output)")
        let ports = (client: try freePort(), peer: try freePort())
        let url = "https://127.0.0.1:\(ports.client)"
        let etcd = try EtcdProcess(
            directory: directory, ports: ports,
            extra: [
                "--listen-client-urls", url, "--advertise-client-urls", url, "--client-cert-auth",
                "--trusted-ca-file", directory + "/own-ca.crt", "--cert-file", directory + "/own.crt",
                "--key-file", directory + "/own.key",
            ])
        defer { etcd.kill() }
        func attempt(ca: String, pair: String) async -> BackupError? {
            var options = BackupOptions()
            options.include = []
            var access = EtcdOptions()
            access.endpoints = [url]
            access.ca = "\(directory)/\(ca)-ca.crt"
            access.cert = "\(directory)/\(pair).crt"
            access.key = "\(directory)/\(pair).key"
            let service = BackupService(
                options: options, etcd: access,
                destinations: [LocalDestination(name: "local", path: directory + "/backups")],
                registry: MetricRegistry(), logger: quietLogger(), toolVersion: "test")
            return await message { _ = try await service.backupNow(onDemand: true) }
        }
        try await eventually("etcd serves") { await attempt(ca: "own", pair: "own") == nil }
        let client = await attempt(ca: "own", pair: "other")
        #expect(client?.message.contains("client certificate") == true, "\(client?.message ?? "")")
        let server = await attempt(ca: "other", pair: "own")
        #expect(server?.message.contains("certificate") == true, "\(server?.message ?? "")")
        #expect(server?.message.contains("client certificate") == false, "\(server?.message ?? "")")
        for error in [client, server] {
            #expect(
                error?.code == .etcd && error?.message.contains(url) == true && error?.message.contains("\n") == false)
        }
        #expect(try FileSystem.list(directory + "/backups").filter { $0.hasSuffix(".json") }.count == 1)
    }

    @Test func aPlaceThatCannotBeWrittenToStopsOnlyItself() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 100)
        try AtomicFile.write([1], to: etcd.directory + "/file")
        let bad = LocalDestination(name: "bad", path: etcd.directory + "/file/below")
        let good = LocalDestination(name: "good", path: etcd.directory + "/backups")
        let result = try await service(etcd, [bad, good]) { $0.workDirectory = etcd.directory + "/work" }
            .backupNow(onDemand: false)
        #expect(result.outcomes.map { $0.problem == nil } == [false, true])
        #expect(result.outcomes[0].problem?.contains("/file") == true)
        let error = await message {
            _ = try await service(etcd, [bad]) { $0.workDirectory = etcd.directory + "/work" }
                .backupNow(onDemand: false)
        }
        #expect(error?.code == .destination && error?.message.contains("bad") == true)
    }

    @Test func aDiskWithoutRoomIsSaidBeforehand() async throws {
        let directory = try temporaryDirectory()
        guard geteuid() == 0,
            try runProgram(["/bin/mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", directory]).status == 0
        else { return }
        defer {
            _ = try? runProgram(["/bin/umount", directory])
            try? FileSystem.removeTree(directory)
        }
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        let error = await message {
            _ = try await service(etcd, [LocalDestination(name: "small", path: directory)]).backupNow(onDemand: true)
        }
        #expect(error?.code == .noSpace && error?.message.contains(directory) == true, "\(error?.message ?? "")")
        #expect(try runProgram(["find", directory, "-name", "*.part", "-o", "-name", "etcd-*"]).output.isEmpty)
    }

    @Test func twoBackupsAtOnceAreOne() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let sidecar = service(etcd, [place])
        let staging = try BackupStaging.make([place], workDirectory: sidecar.options.workDirectory, quietLogger())
        let lock = try BackupLock.take(staging.directory)
        let error = await message { _ = try await sidecar.backupNow(onDemand: true) }
        withExtendedLifetime(lock) {}
        #expect(error?.code == .busy && error?.message.contains("\(getpid())") == true)
    }

    @Test func aClockThatWentBackIsToldAndLosesNothing() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 10)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let first = try await service(etcd, [place]).backupNow(onDemand: false)
        let registry = MetricRegistry()
        var options = BackupOptions()
        options.cluster = "test"
        options.include = []
        options.destinations = [
            DestinationOptions(name: "local", place: .local(LocalOptions(path: place.path)))
        ]
        options.destinations[0].retention.keepLast = 1
        var access = EtcdOptions()
        access.endpoints = [etcd.endpoint]
        (access.ca, access.cert, access.key) = (nil, nil, nil)
        let back = BackupService(
            options: options, etcd: access, destinations: [place], registry: registry, logger: quietLogger(),
            clock: WallClock { WallClock.system.nowMilliseconds() - 7_200_000 }, toolVersion: "test")
        _ = try await back.backupNow(onDemand: false)
        #expect(String(decoding: registry.expose(), as: UTF8.self).contains("kops_backup_clock_behind_seconds 7"))
        let names = try await BackupCatalogue.read(place).filter(\.isGood).map { "\($0.name)" }
        #expect(names.contains(first.manifest.name))
    }

    @Test func anotherClusterUnderTheSameNameIsTold() async throws {
        let one = try EtcdProcess(name: "one")
        let two = try EtcdProcess(name: "two")
        defer { for etcd in [one, two] { try? FileSystem.removeTree(etcd.directory) } }
        try await one.waitUntilServing()
        try await two.waitUntilServing()
        let place = LocalDestination(name: "local", path: one.directory + "/backups")
        _ = try await service(one, [place]).backupNow(onDemand: false)
        let other = service(two, [place])
        let result = try await other.backupNow(onDemand: false)
        #expect(result.manifest.kind == .full)
        #expect(other.metrics.clusterChanges.value == 1)
    }
}
