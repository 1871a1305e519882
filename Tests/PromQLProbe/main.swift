import PromQL
for text in CommandLine.arguments.dropFirst() {
    do { print(try parseExpression(text, features: .all).pretty()) } catch { print(error) }
}
