/// For a part of a URL's path or query: everything but RFC 3986's unreserved characters (letters, digits and `-_.~`) in
/// hexadecimal; with `spaceAsPlus` as in forms.
package func percentEncoded(_ text: String, spaceAsPlus: Bool = false) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    var out: [UInt8] = []
    for byte in text.utf8 {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
            UInt8(ascii: "~"):
            out.append(byte)
        case UInt8(ascii: " ") where spaceAsPlus: out.append(UInt8(ascii: "+"))
        default: out += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        }
    }
    return String(decoding: out, as: UTF8.self)
}
