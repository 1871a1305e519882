import Testing

@testable import ClusterOps

/// Two sidecars, one lease, and everything that can go wrong between them, as a state that can be searched. Time passes in
/// ticks; at each tick either clock advances by one or by two, so that one may run twice as fast as the other, which is the
/// ratio of lease to renewDeadline here. A request may arrive at once, later, after its sender gave up on it, or never; its
/// answer may be lost. Times are kept relative and old ones alike, so that the states are finite.
private struct World: Hashable {
    struct Message: Hashable {
        var request: LeaderElector.Request
        /// Nil while it has not arrived.
        var reply: LeaderElector.Reply?
        /// Whether the sender still waits for it.
        var isAwaited: Bool
    }

    static let timing: LeaderElector.Timing = {
        var timing = LeaderElector.Timing()
        timing.lease = 4
        timing.renewDeadline = 2
        timing.retryPeriod = 1
        return timing
    }()

    var electors = ["a", "b"].map { LeaderElector(identity: $0, timing: World.timing) }
    var clocks: [Int64] = [0, 0]
    var holder: LeaseRecord?
    var version = 0
    var messages: [[Message]] = [[], []]

    var leaders: Int { (0..<2).count { electors[$0].isLeader(now: clocks[$0]) } }

    private mutating func apply(_ request: LeaderElector.Request) -> LeaderElector.Reply {
        switch request {
        case .read:
            guard let holder else { return .absent }
            return .found(holder, version: String(version))
        case .create(let record):
            guard holder == nil else { return .conflict }
            return write(record)
        case .update(let record, let version):
            guard holder != nil, String(self.version) == version else { return .conflict }
            return write(record)
        }
    }

    private mutating func write(_ record: LeaseRecord) -> LeaderElector.Reply {
        holder = record
        version += 1
        return .written(version: String(version))
    }

    /// Every state that may come next.
    func successors() -> [World] {
        var out: [World] = []
        for node in 0..<2 {
            // It sends a request.
            var sent = self
            if let request = sent.electors[node].next(now: clocks[node]) {
                sent.messages[node].append(Message(request: request, reply: nil, isAwaited: true))
                if sent.messages[node].count <= 2 { out.append(sent) }
            }
            for index in messages[node].indices {
                let message = messages[node][index]
                if message.reply == nil {
                    // It arrives.
                    var arrived = self
                    arrived.messages[node][index].reply = arrived.apply(message.request)
                    if !message.isAwaited { arrived.messages[node].remove(at: index) }
                    out.append(arrived)
                    // It is lost for good.
                    if !message.isAwaited {
                        var lost = self
                        lost.messages[node].remove(at: index)
                        out.append(lost)
                    }
                } else if let reply = message.reply {
                    // Its answer comes back.
                    var answered = self
                    answered.messages[node].remove(at: index)
                    answered.electors[node].handle(reply, now: clocks[node])
                    out.append(answered)
                }
                if message.isAwaited {
                    // The sender gives up; what is on its way stays on its way.
                    var given = self
                    given.electors[node].handle(.failed, now: clocks[node])
                    if message.reply != nil {
                        given.messages[node].remove(at: index)
                    } else {
                        given.messages[node][index].isAwaited = false
                    }
                    out.append(given)
                }
            }
        }
        for a in Int64(1)...2 {
            for b in Int64(1)...2 {
                var later = self
                later.clocks[0] += a
                later.clocks[1] += b
                out.append(later)
            }
        }
        return out.map { $0.canonical() }
    }

    /// The same state under other names: clocks at zero, versions as current or old, times long past alike.
    func canonical() -> World {
        var out = self
        let current = String(version)
        func named(_ text: String) -> String { text.isEmpty ? "" : text == current ? "1" : "0" }
        func renamed(_ request: LeaderElector.Request) -> LeaderElector.Request {
            switch request {
            case .update(let record, let version): .update(plain(record), version: named(version))
            case .create(let record): .create(plain(record))
            case .read: .read
            }
        }
        func plain(_ record: LeaseRecord) -> LeaseRecord {
            var record = record
            record.transitions = 0
            return record
        }
        for node in 0..<2 {
            let now = clocks[node]
            func relative(_ time: Int64) -> Int64 { time == Int64.min ? -9 : max(time - now, -9) }
            out.electors[node].observedAt = relative(electors[node].observedAt)
            out.electors[node].validUntil = max(relative(electors[node].validUntil), 0)
            out.electors[node].nextAttempt = max(relative(electors[node].nextAttempt), 0)
            out.electors[node].pendingSince =
                electors[node].pending == nil ? 0 : relative(electors[node].pendingSince)
            out.electors[node].version = named(electors[node].version)
            out.electors[node].observed = electors[node].observed.map(plain)
            out.electors[node].pending = electors[node].pending.map(renamed)
            out.clocks[node] = 0
            out.messages[node] = messages[node].map { message in
                var message = message
                message.request = renamed(message.request)
                switch message.reply {
                case .found(let record, let version): message.reply = .found(plain(record), version: named(version))
                case .written(let version): message.reply = .written(version: named(version))
                default: break
                }
                return message
            }
        }
        out.holder = holder.map(plain)
        out.version = 1
        return out
    }
}

/// A fast, repeatable source of chance.
private struct Chance: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 29
    }
}

@Suite struct LeaderModelTests {
    /// Breadth first over all states up to a bound; each is looked at once.
    @Test func neverTwoLeadersInAnyReachableState() {
        var seen: Set<World> = [World().canonical()]
        var frontier = Array(seen)
        var led = [false, false]
        var depth = 0
        while !frontier.isEmpty, seen.count < 60_000 {
            var next: [World] = []
            for world in frontier {
                for follower in world.successors() where seen.insert(follower).inserted {
                    if follower.leaders > 1 {
                        Issue.record("two leaders: \(follower)")
                        return
                    }
                    for node in 0..<2 where follower.electors[node].isLeader(now: 0) { led[node] = true }
                    next.append(follower)
                }
            }
            frontier = next
            depth += 1
        }
        #expect(led == [true, true], "the search must reach leaders to mean anything")
        print("leader election: \(seen.count) states to depth \(depth)\(frontier.isEmpty ? ", all there are" : "")")
    }

    /// Random walks go where the bounded search does not.
    @Test func neverTwoLeadersOnLongRandomWalks() throws {
        var changes = 0
        for seed in 0..<20 {
            var chance = Chance(state: UInt64(seed) &+ 77)
            var world = World()
            var last = -1
            for _ in 0..<2000 {
                world = try #require(world.successors().randomElement(using: &chance))
                if world.leaders > 1 {
                    Issue.record("two leaders, seed \(seed): \(world)")
                    return
                }
                if let leader = (0..<2).first(where: { world.electors[$0].isLeader(now: 0) }), leader != last {
                    changes += 1
                    last = leader
                }
            }
        }
        #expect(changes > 10)
    }

    /// The search finds the mistake that the renew deadline is there to prevent.
    @Test func theModelFindsAnElectorThatBelievesTooLong() {
        // Counted from when the answer came, as a careless one would, not from when the request was sent.
        var elector = LeaderElector(identity: "a", timing: World.timing)
        _ = elector.next(now: 0)
        elector.handle(.absent, now: 0)
        _ = elector.next(now: 0)
        elector.handle(.written(version: "1"), now: 3)
        #expect(!elector.isLeader(now: 3), "a write that took longer than the deadline makes no leader")
    }

    @Test func failsOverWithinTheLeaseAndARetry() {
        let timing = LeaderElector.Timing()
        var store: (record: LeaseRecord, version: Int)?
        func serve(_ request: LeaderElector.Request) -> LeaderElector.Reply {
            switch request {
            case .read: return store.map { .found($0.record, version: String($0.version)) } ?? .absent
            case .create(let record):
                if store != nil { return .conflict }
                store = (record, 1)
            case .update(let record, let version):
                guard let held = store, String(held.version) == version else { return .conflict }
                store = (record, held.version + 1)
            }
            return .written(version: String(store?.version ?? 0))
        }
        var a = LeaderElector(identity: "a", timing: timing)
        // Its clock shows another time altogether.
        var b = LeaderElector(identity: "b", timing: timing)
        let skew: Int64 = 86_400_000 * 300
        var failedOverAfter: Int64?
        for now in stride(from: Int64(0), through: 100_000, by: 100) {
            if now <= 50_000, let request = a.next(now: now) { a.handle(serve(request), now: now) }
            if let request = b.next(now: now - skew) { b.handle(serve(request), now: now - skew) }
            if now <= 50_000 {
                #expect(now < 100 || a.isLeader(now: now))
                #expect(!b.isLeader(now: now - skew))
            } else if failedOverAfter == nil, b.isLeader(now: now - skew) {
                failedOverAfter = now - 50_000
            }
        }
        #expect(failedOverAfter ?? .max <= timing.lease + timing.retryPeriod)
        #expect(store?.record.transitions == 1)
    }

    @Test func givesUpWhatItCannotRenewAndReleasesWhatItHolds() {
        var elector = LeaderElector(identity: "a", timing: LeaderElector.Timing())
        _ = elector.next(now: 0)
        elector.handle(.absent, now: 0)
        _ = elector.next(now: 0)
        elector.handle(.written(version: "1"), now: 10)
        #expect(elector.isLeader(now: 9_999))
        // The API is down: no renewal succeeds.
        for now in stride(from: Int64(2_010), to: 10_000, by: 2_000) {
            _ = elector.next(now: now)
            elector.handle(.failed, now: now)
        }
        #expect(!elector.isLeader(now: 10_000))
        _ = elector.next(now: 12_000)
        elector.handle(.found(LeaseRecord(holder: "a", duration: 15_000, transitions: 0), version: "1"), now: 12_000)
        _ = elector.next(now: 12_000)
        elector.handle(.written(version: "2"), now: 12_001)
        #expect(elector.isLeader(now: 12_001))
        guard case .update(let record, "2")? = elector.release(now: 13_000) else {
            Issue.record("not released")
            return
        }
        #expect(record.holder.isEmpty)
        #expect(!elector.isLeader(now: 13_000))
    }
}
