import ArgumentParser
import ClusterOps
import Etcd
import KopsSidecar
import Platform

/// `etcd …`: looks after etcd by its own protocol; the service need not run.
struct EtcdCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "etcd", abstract: "Show etcd's members, alarms, and free space; defragment.",
        subcommands: [EtcdStatusCommand.self, EtcdAlarmsCommand.self, EtcdDefragmentCommand.self])
}

private func alarmName(_ kind: EtcdAlarm.Kind) -> String { kind == .noSpace ? "NOSPACE" : "CORRUPT" }

/// `etcd status`
struct EtcdStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Print what each member says of itself.",
        discussion: "Exit status 1 where a member does not answer, none leads or an alarm is on.")

    @Flag(help: "Compare the members' hashes of all keys as well; etcd reads its whole database for it.")
    var hashes = false

    @OptionGroup var configuration: BackupConfiguration
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        let options = try configuration.load().etcd
        let http = HTTPClient(name: "kops-etcd")
        defer { http.shutdown() }
        let survey = await EtcdSurvey.take(options, http: http)
        let agree = hashes ? await survey.hashesAgree(options, http: http) : nil
        func role(_ member: EtcdSurvey.Member) -> String {
            guard let status = member.status else { return "down" }
            if status.isLearner { return "learner" }
            return status.isLeader ? "leader" : status.leader == 0 ? "no leader" : "follower"
        }
        try printListing(
            listing, columns: ["MEMBER", "ENDPOINT", "ROLE", "VERSION", "DATABASE", "IN USE", "REVISION", "PROBLEM"],
            rows: survey.members.map { member in
                [
                    member.name, member.endpoint, role(member), member.status?.version ?? "-",
                    member.status.map { sizeText($0.databaseSize) } ?? "-",
                    member.status.map { sizeText($0.databaseSizeInUse) } ?? "-",
                    member.status.map { String($0.header.revision) } ?? "-",
                    member.problem ?? member.status?.errors.joined(separator: "; ") ?? "",
                ]
            }
        ) { writer in
            writer.array(survey.members) { writer, member in
                writer.object { writer in
                    let texts = [
                        ("member", member.name), ("endpoint", member.endpoint), ("role", role(member)),
                        ("version", member.status?.version ?? ""), ("problem", member.problem ?? ""),
                    ]
                    for (key, text) in texts {
                        writer.key(key)
                        writer.string(text)
                    }
                    let numbers = [
                        ("databaseBytes", member.status?.databaseSize),
                        ("inUseBytes", member.status?.databaseSizeInUse),
                        ("revision", member.status?.header.revision),
                    ]
                    for (key, number) in numbers {
                        writer.key(key)
                        if let number { writer.int(number) } else { writer.null() }
                    }
                }
            }
        }
        var problems = survey.members.filter { $0.status == nil }.map { "\($0.endpoint): \($0.problem ?? "down")" }
        if problems.isEmpty, survey.leader == nil { problems.append("etcd has no leader") }
        problems += (survey.alarms ?? []).map { "alarm \(alarmName($0.kind)) is on" }
        if agree == false { problems.append("the members hold different keys") }
        if hashes, agree == true, listing.output == .table { print("the members' hashes agree") }
        if !problems.isEmpty { throw CommandFailure.failed(problems) }
    }
}

/// `etcd alarms [--disarm]`
struct EtcdAlarmsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "alarms", abstract: "Print the alarms that are on, or turn them off.",
        discussion: "etcd takes no writes while NOSPACE is on: compact and defragment first, or it comes again.")

    @Flag(help: "Turn all of them off.")
    var disarm = false

    @OptionGroup var configuration: BackupConfiguration

    func run() async throws {
        if !disarm { return try await run(CommandNote()) }
        try await audited("etcd alarms --disarm") { try await run($0) }
    }

    private func run(_ note: CommandNote) async throws {
        let config = try configuration.load()
        note.directory = config.storage.path
        let options = config.etcd
        let http = HTTPClient(name: "kops-etcd")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: options.endpoints, tls: options.tls, http: http)
        try await withBackupErrors {
            let alarms = try await client.alarms()
            let names = Dictionary(
                try await client.memberList().map { ($0.id, $0.name) }, uniquingKeysWith: { a, _ in a })
            for alarm in alarms {
                if disarm { try await client.disarm(alarm) }
                let member = names[alarm.member] ?? String(alarm.member, radix: 16)
                print("\(alarmName(alarm.kind)) of \(member)\(disarm ? ": turned off" : "")")
            }
            note.detail = alarms.isEmpty ? "no alarm was on" : "turned off \(alarms.count)"
            if alarms.isEmpty { print("no alarm is on") }
        }
    }
}

/// `etcd defragment`
struct EtcdDefragmentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "defragment", abstract: "Give free space in etcd's databases back, one member at a time.",
        discussion: "Followers first, the leader last; refused (exit status 3) unless every member is well.")

    @Flag(help: "Also where there is little to gain.")
    var all = false

    @OptionGroup var configuration: BackupConfiguration

    func run() async throws { try await audited("etcd defragment") { try await run($0) } }

    private func run(_ note: CommandNote) async throws {
        let config = try configuration.load()
        note.directory = config.storage.path
        let options = config.etcd
        let outcomes = try await withBackupErrors {
            try await Defragment(etcd: options, options: options.defragment ?? DefragmentOptions()).run(
                force: all, log: { printError($0) })
        }
        for outcome in outcomes {
            let text = outcome.after == outcome.before ? "as it is" : "now \(sizeText(outcome.after))"
            let line = "\(outcome.member): \(sizeText(outcome.before)), \(text)"
            note.detail += note.detail.isEmpty ? line : "; \(line)"
            print(line)
        }
    }
}
