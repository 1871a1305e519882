import KopsSidecar
import Testing

@Suite struct ConfigReaderTests {
    private func section(_ text: String) throws -> (ConfigSection, ConfigIssues) {
        let issues = ConfigIssues()
        let node = try #require(try ConfigNode.parse(Array(text.utf8), file: "a.yml"))
        return (try #require(ConfigSection(node, issues)), issues)
    }

    @Test func namesPlaceAndNearestKeyOfAnUnknownOne() throws {
        let (root, issues) = try section("global:\n  scrape_intervall: 15s\n")
        let global = try #require(root.section("global"))
        _ = global.duration("scrape_interval")
        _ = global.duration("evaluation_interval")
        global.finish()
        root.finish()
        #expect(
            issues.all.map(\.description) == [
                "a.yml:2:3: unknown key global.scrape_intervall (did you mean scrape_interval?)"
            ])
    }

    @Test func readsTypesAndReportsEachWrongOne() throws {
        let (root, issues) = try section(
            """
            a: 1h30m
            b: 10GiB
            c: yes
            d: [x, 1]
            e: {k: v}
            f: soon
            g: [1]
            h: 7
            i: ~
            """)
        #expect(root.duration("a") == 5_400_000)
        #expect(root.byteSize("b") == 10 << 30)
        #expect(root.bool("c") == true)
        #expect(root.strings("d") == ["x", "1"])
        #expect(root.stringMap("e")?.first?.1 == "v")
        #expect(root.duration("f") == nil)
        #expect(root.string("g") == nil)
        #expect(root.int("h", range: 0...5) == nil)
        #expect(root.string("i") == nil)
        root.finish()
        #expect(issues.all.map(\.line) == [6, 7, 8])
    }

    @Test func resolvesMergeKeysAndAliases() throws {
        let (root, issues) = try section("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n")
        let use = try #require(root.section("use"))
        #expect(use.int("x") == 1 && use.int("y") == 3)
        use.finish()
        #expect(issues.all.isEmpty)
    }

    @Test(arguments: ["a: 1\n---\n", "---\na: 1\n---", "a: 1\n---\n\n# end\n", "---\na: 1\n"])
    func aMarkOfAnotherDocumentWithNothingBehindItIsNone(_ text: String) throws {
        #expect(try section(text).0.int("a") == 1)
    }

    @Test(arguments: ["a: 1\n---\nb: 2\n", "a: [", "a: b: c", "a: 1\na: 2", "\t- x", "\u{0}", "'"])
    func refusesWhatIsNotYAML(_ text: String) {
        #expect(throws: ConfigIssue.self) { try ConfigNode.parse(Array(text.utf8), file: "a.yml") }
    }

    @Test func refusesNestingThatWouldOverflow() {
        let deep = [UInt8](repeating: UInt8(ascii: "["), count: 200_000)
        #expect(throws: ConfigIssue.self) { try ConfigNode.parse(deep, file: "a.yml") }
    }
}
