import PromQL
import Testing

@Suite struct ParserTests {
    /// Text and its printed form; "" where they are the same.
    @Test(arguments: [
        (
            "sum(rate(foo{a=\"b\",c!~\"d.*\"}[5m] offset 1h @ 10)) by (x, \"y z\")",
            "sum by (x, \"y z\") (rate(foo{a=\"b\",c!~\"d.*\"}[5m] @ 10.000 offset 1h))"
        ),
        ("2 ^ -3 ^ 2 * 4", ""), ("-foo offset 5m", ""), ("a - b - c", ""), ("1h30m", ""), ("0x1F", "31"),
        ("foo[5m:1m+2s]", "foo[5m:1m + 2s]"), ("foo or bar unless baz and x", ""), ("sum", ""),
        ("start{a=\"b\"}", ""), ("a + on () group_right (x) fill_left (1) b", ""),
        ("x[5m] anchored", ""), ("FOO{a='x'} > bool 1", "FOO{a=\"x\"} > bool 1"), ("inF", "+Inf"),
        ("topk without (a) (3, b)", "topk without (a) (3, b)"),
    ])
    func printsWhatItRead(text: String, printed: String) throws {
        let expr = try parseExpression(text, features: .all)
        #expect(expr.description == (printed.isEmpty ? text : printed))
        #expect(try parseExpression(expr.description, features: .all).description == expr.description)
    }

    @Test(arguments: [
        ("", "unknown position: parse error: no expression found in input"),
        ("1+", "1:3: parse error: unexpected end of input"),
        ("100..4", "1:1: parse error: bad number or duration syntax: \"100..\""),
        ("(1))", "1:5: parse error: unexpected right parenthesis ')'"),
        ("((1)", "1:5: parse error: unclosed left parenthesis"),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("a - on(b) ignoring(c) d", "1:11: parse error: unexpected <ignoring>"),
        ("some_metric{a=b}", "1:15: parse error: unexpected identifier \"b\" in label matching, expected string"),
        ("\n\nfloor()", "3:1: parse error: expected 1 argument(s) in call to \"floor\", got 0"),
        ("sum some_metric", "1:5: parse error: unexpected identifier \"some_metric\""),
        ("sum(rate(foo bar))", "1:14: parse error: unexpected identifier \"bar\" in aggregation"),
        ("nofunction(foo bar)", "1:16: parse error: unexpected identifier \"bar\""),
        ("rate(foo[5m],)", "1:13: parse error: trailing commas not allowed in function call args"),
        ("foo{a=~\"(\"}", "1:5: parse error: error parsing regexp: missing closing ): `^(?s:()$`"),
        ("foo[1mm]", "1:5: parse error: bad number or duration syntax: \"1mm\""),
        ("step()", "1:1: parse error: function \"step\" is not enabled"),
        ("rate(foo)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
    ])
    func saysWhatIsWrong(text: String, message: String) {
        #expect { try parseExpression(text) } throws: { "\($0)" == message }
    }

    @Test func deepNestingIsRefusedAndNotACrash() {
        for text in [
            String(repeating: "(", count: 100_000) + "1" + String(repeating: ")", count: 100_000),
            String(repeating: "-", count: 100_000) + "a", "a" + String(repeating: " + a", count: 100_000),
            String(repeating: "abs(", count: 100_000), "a[1m:" + String(repeating: "(", count: 100_000),
            "a" + String(repeating: "^a", count: 100_000),
        ] {
            #expect(throws: ParseError.self) { try parseExpression(text, features: .all) }
        }
    }
}
