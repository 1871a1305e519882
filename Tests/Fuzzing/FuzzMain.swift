import Glibc

/// libFuzzer over the parsers, decoders and file readers: each must take any bytes without a trap, a hang or memory without
/// bound. Built by `scripts/fuzz` only, with libFuzzer's instrumentation.
///
///     kops-fuzz TARGET [libFuzzer's options] [directories of a corpus]
///     kops-fuzz --list
///     kops-fuzz --seeds DIRECTORY     # a first corpus for the binary formats, from what writes them
///
/// libFuzzer brings the main function: it calls this first, and takes the arguments that are left.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(
    _ argc: UnsafeMutablePointer<Int32>,
    _ argv: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>
) -> Int32 {
    let arguments = (0..<Int(argc.pointee)).map { index in argv.pointee[index].map { String(cString: $0) } ?? "" }
    switch arguments.count > 1 ? arguments[1] : "" {
    case "--list":
        for name in fuzzTargets.keys.sorted() { print(name) }
        exit(0)
    case "--seeds" where arguments.count == 3:
        do { try writeSeeds(arguments[2]) } catch {
            print("kops-fuzz: \(error)")
            exit(1)
        }
        exit(0)
    case let name:
        // libFuzzer starts itself again with the arguments that it saw.
        if let inherited = getenv("KOPS_FUZZ_TARGET").flatMap({ fuzzTargets[String(cString: $0)] }) {
            chosen = inherited
            return 0
        }
        setenv("KOPS_FUZZ_TARGET", name, 1)
        guard let target = fuzzTargets[name] else {
            print("kops-fuzz: no target \"\(name)\": --list names them")
            exit(2)
        }
        chosen = target
        // libFuzzer sees the arguments without the target's name.
        argv.pointee[1] = argv.pointee[0]
        argv.pointee += 1
        argc.pointee -= 1
    }
    return 0
}

/// What is fed; set once, before the first input.
nonisolated(unsafe) private var chosen: @Sendable (UnsafeRawBufferPointer) -> Void = { _ in }

@_cdecl("LLVMFuzzerTestOneInput")
public func runOne(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    chosen(UnsafeRawBufferPointer(start: bytes, count: count))
    return 0
}

/// Ends the process, so that libFuzzer keeps the input.
func check(_ holds: Bool, _ what: @autoclosure () -> String) {
    if holds { return }
    print("kops-fuzz: \(what())")
    abort()
}
