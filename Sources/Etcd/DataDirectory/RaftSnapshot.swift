import Platform

/// The `.snap` file beside the database: raft's snapshot, whose data is etcd's old v2 store as JSON with the members in it.
/// etcd 3.5 takes the membership from there, 3.6 still reads it, 3.7 does not.
enum RaftSnapshot {
    /// Whose tool the file is to be equal to, byte for byte; every etcd reads either.
    enum Form {
        /// etcdutl up to 3.5.
        case untilV35
        /// etcdutl 3.6, which looks for members in its empty store first: one failed read more is counted. It enters the members
        /// in a random order; here it is that of their identifiers.
        case v36
    }

    static func fileName(_ cluster: ClusterIdentity) -> String {
        "0000000000000001-\(paddedHex(UInt64(cluster.members.count))).snap"
    }

    /// `order` is that in which the members were entered, by identifier; all are in it.
    static func file(_ cluster: ClusterIdentity, form: Form = .untilV35, order: [UInt64]? = nil) -> [UInt8] {
        let entered = order.map { ids in ids.compactMap { id in cluster.members.first { $0.id == id } } }
        var metadata = ProtobufWriter()
        metadata.put(1, bytes: WriteAheadLog.confState(cluster).bytes)
        metadata.put(2, UInt64(cluster.members.count))
        metadata.put(3, 1)
        var snapshot = ProtobufWriter()
        snapshot.put(1, bytes: storeJSON(entered ?? cluster.members, form).utf8)
        snapshot.put(2, bytes: metadata.bytes)
        var file = ProtobufWriter()
        file.put(1, UInt64(CRC32C.update(0, snapshot.bytes)))
        file.put(2, bytes: snapshot.bytes)
        return file.bytes
    }

    private static func paddedHex(_ value: UInt64) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: 16 - text.utf8.count) + text
    }

    /// The v2 store after each member was created in it, in this order: its tree, its queue of the last thousand events, and its
    /// counters.
    private static func storeJSON(_ members: [SeedMember], _ form: Form) -> String {
        let byText = members.enumerated().map {
            (i: $0.offset, member: $0.element, hex: String($0.element.id, radix: 16))
        }
        .sorted { $0.hex < $1.hex }
        let children = byText.map { i, member, hex -> String in
            let path = "/0/members/\(hex)"
            let attributes = node(path + "/raftAttributes", i + 1, value: member.raftAttributes, children: "null")
            return "\"\(hex)\":" + node(path, i + 1, children: "{\"raftAttributes\":\(attributes)}")
        }.joined(separator: ",")
        let membersNode = node("/0/members", 1, children: "{\(children)}")
        let root = node(
            "/", 0,
            children:
                "{\"0\":\(node("/0", 0, children: "{\"members\":\(membersNode)}")),\"1\":\(node("/1", 0, children: "{}"))}"
        )
        let capacity = 1000
        var events = members.prefix(capacity).enumerated().map { i, member in
            "{\"action\":\"create\",\"node\":{\"key\":\"/0/members/\(String(member.id, radix: 16))/raftAttributes\","
                + "\"value\":\(jsonQuoted(member.raftAttributes)),\"modifiedIndex\":\(i + 1),\"createdIndex\":\(i + 1)}}"
        }
        events += [String](repeating: "null", count: capacity - events.count)
        let count = members.count
        let counters = [
            "getsSuccess", "getsFail", "setsSuccess", "setsFail", "deleteSuccess", "deleteFail", "updateSuccess",
            "updateFail", "createSuccess", "createFail", "compareAndSwapSuccess", "compareAndSwapFail",
            "compareAndDeleteSuccess", "compareAndDeleteFail", "expireCount", "watchers",
        ].map { name in
            let value = name == "createSuccess" ? count : name == "getsFail" && form == .v36 ? 1 : 0
            return "\"\(name)\":\(value)"
        }.joined(separator: ",")
        return "{\"Root\":\(root),\"WatcherHub\":{\"EventHistory\":{\"Queue\":{\"Events\":["
            + events.joined(separator: ",")
            + "],\"Size\":\(count),\"Front\":0,\"Back\":\(count),\"Capacity\":\(capacity)},\"StartIndex\":1,"
            + "\"LastIndex\":\(count)}},\"CurrentIndex\":\(count),\"Stats\":{\(counters)},\"CurrentVersion\":2}"
    }

    private static func node(_ path: String, _ index: Int, value: String = "", children: String) -> String {
        "{\"Path\":\"\(path)\",\"CreatedIndex\":\(index),\"ModifiedIndex\":\(index),"
            + "\"ExpireTime\":\"0001-01-01T00:00:00Z\",\"Value\":\(jsonQuoted(value)),\"Children\":\(children)}"
    }
}
