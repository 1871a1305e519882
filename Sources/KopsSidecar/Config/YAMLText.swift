import Yams

/// The same value as YAML text; JSON is read as the YAML that it is.
package func yamlFromJSON(_ json: [UInt8]) -> String {
    let text = String(decoding: json, as: UTF8.self)
    guard let node = try? Yams.compose(yaml: text, .default),
        let out = try? Yams.serialize(node: block(node), width: 4096, allowUnicode: true)
    else { return text }
    return out
}

private func block(_ node: Node) -> Node {
    switch node {
    case .mapping(let mapping):
        .mapping(Node.Mapping(mapping.map { (block($0), block($1)) }, Tag(.implicit), .block))
    case .sequence(let sequence): .sequence(Node.Sequence(sequence.map(block), Tag(.implicit), .block))
    case .scalar, .alias: node
    }
}
