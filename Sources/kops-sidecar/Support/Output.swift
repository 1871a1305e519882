import ArgumentParser
import Glibc
import KopsSidecar

/// `--output`, the same for every command that lists.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case table, json, yaml
}

struct OutputOptions: ParsableArguments {
    @Option(name: [.customShort("o"), .long], help: "How to print: table, json or yaml.")
    var output: OutputFormat = .table
}

/// Rows of texts under headings, each column as wide as its widest cell.
struct TextTable {
    var columns: [String]
    var rows: [[String]] = []

    init(_ columns: [String]) { self.columns = columns }

    func printOut() {
        var widths = columns.map(\.count)
        for row in rows {
            for (index, cell) in row.enumerated() where index < widths.count {
                widths[index] = max(widths[index], cell.count)
            }
        }
        func line(_ cells: [String]) -> String {
            var out = ""
            for (index, cell) in cells.enumerated() {
                out += cell
                if index + 1 < cells.count {
                    out += String(repeating: " ", count: max(0, widths[index] - cell.count) + 2)
                }
            }
            return out
        }
        print(line(columns))
        for row in rows { print(line(row)) }
    }
}

/// Prints a table, or what `json` writes, as JSON or YAML.
func printListing(
    _ options: OutputOptions, columns: [String], rows: [[String]], json: (inout JSONWriter) -> Void
) throws {
    switch options.output {
    case .table:
        var table = TextTable(columns)
        table.rows = rows
        table.printOut()
    case .json, .yaml:
        var writer = JSONWriter()
        json(&writer)
        try printJSON(writer.bytes, options)
    }
}

/// Prints JSON as it is, or the same as YAML.
func printJSON(_ bytes: [UInt8], _ options: OutputOptions) throws {
    if options.output == .yaml {
        try writeOutput(Array(yamlFromJSON(bytes).utf8))
    } else {
        try writeOutput(bytes + [UInt8(ascii: "\n")])
    }
}

/// `3 h ago`-like ages for tables.
func ageText(milliseconds: Int64) -> String {
    let seconds = max(0, milliseconds / 1000)
    switch seconds {
    case ..<90: return "\(seconds)s"
    case ..<5400: return "\(seconds / 60)m"
    case ..<172_800: return "\(seconds / 3600)h"
    default: return "\(seconds / 86400)d"
    }
}

func sizeText(_ bytes: Int64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"]
    var value = Double(bytes)
    var unit = 0
    while value >= 1024, unit < units.count - 1 {
        value /= 1024
        unit += 1
    }
    return unit == 0 ? "\(bytes) B" : "\((value * 10).rounded() / 10) \(units[unit])"
}
