// swift-tools-version: 6.2
import PackageDescription

/// Every target: Swift 6 mode (strict concurrency), `any` spelled out, imports declared and visible only where written.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
]

let package = Package(
    name: "kops-sidecar",
    platforms: [.macOS(.v15)],
    products: [.executable(name: "kops-sidecar", targets: ["kops-sidecar"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2")
    ],
    targets: [
        .target(name: "MetricModel", swiftSettings: strict),
        .executableTarget(
            name: "kops-sidecar",
            dependencies: [
                "MetricModel",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        .testTarget(name: "MetricModelTests", dependencies: ["MetricModel"], swiftSettings: strict),
    ]
)
