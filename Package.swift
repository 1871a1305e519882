// swift-tools-version: 6.2
import PackageDescription

/// Every target: Swift 6 mode (strict concurrency), `any` spelled out, imports declared and visible only where written.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]

let grdb: [Target.Dependency] = [
    .product(name: "GRDB", package: "GRDB.swift"), .product(name: "GRDBSQLite", package: "GRDB.swift"),
]
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")

let package = Package(
    name: "kops-sidecar",
    platforms: [.macOS(.v15)],
    products: [.executable(name: "kops-sidecar", targets: ["kops-sidecar"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", exact: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
        .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", exact: "2.13.0"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", exact: "1.0.2", traits: []),
    ],
    targets: [
        // C libraries of the system, with shims for what Swift cannot call: variadics, macros and C++.
        .target(name: "CCurl", linkerSettings: [.linkedLibrary("curl")]),
        .target(name: "CRE2", linkerSettings: [.linkedLibrary(":libre2.a")]),
        .target(name: "COpenSSL", linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto")]),
        .target(name: "CPlatform", linkerSettings: [.linkedLibrary("crypt")]),
        .systemLibrary(name: "CDeflate", providers: [.apt(["libdeflate-dev"])]),
        .systemLibrary(name: "CSnappy", providers: [.apt(["libsnappy-dev"])]),
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),

        .target(name: "MetricModel", dependencies: ["CRE2"], swiftSettings: strict),
        .target(
            name: "Platform",
            dependencies: [
                "CCurl", "CDeflate", "COpenSSL", "CPlatform", "CZlib", logging,
                .product(name: "Subprocess", package: "swift-subprocess"),
            ] + grdb, swiftSettings: strict, linkerSettings: [.linkedLibrary(":libdeflate.a")]),
        .target(name: "PromQL", dependencies: ["MetricModel"], swiftSettings: strict),
        .target(
            name: "TSDB", dependencies: ["MetricModel", "Platform", "CPlatform", "CDeflate", "CZlib", logging] + grdb,
            swiftSettings: strict),
        .target(name: "Etcd", dependencies: ["Platform", "CZlib", logging], swiftSettings: strict),
        .target(
            name: "Kubernetes", dependencies: ["Platform", .product(name: "Yams", package: "Yams")],
            swiftSettings: strict),
        .target(
            name: "Monitoring",
            dependencies: [
                "MetricModel", "PromQL", "Platform", "Kubernetes", "CSnappy", logging, lifecycle,
                .product(name: "Subprocess", package: "swift-subprocess"),
            ] + grdb,
            swiftSettings: strict, linkerSettings: [.linkedLibrary(":libsnappy.a")]),
        .target(
            name: "ClusterOps",
            dependencies: [
                "Platform", "Etcd", "Kubernetes", "CZlib", logging, lifecycle,
                .product(name: "Subprocess", package: "swift-subprocess"),
            ] + grdb,
            swiftSettings: strict),
        .target(
            name: "KopsSidecar",
            dependencies: [
                "MetricModel", "Platform", "PromQL", "TSDB", "Monitoring", "ClusterOps", "Etcd", "Kubernetes", logging,
                lifecycle,
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "NIOSSL", package: "swift-nio-ssl"),
                .product(name: "Yams", package: "Yams"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ], swiftSettings: strict),
        .executableTarget(
            name: "kops-sidecar",
            dependencies: [
                "KopsSidecar", "MetricModel", "Platform", "PromQL", "TSDB", "Monitoring", "ClusterOps", "Etcd", logging,
                lifecycle,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: strict,
            // What is shipped holds Swift's runtime: a node on which it restores has none.
            linkerSettings: [.unsafeFlags(["-static-stdlib"], .when(configuration: .release))]
                + ["CoreFoundation", "_FoundationICU", "_FoundationCShims", "_FoundationCollections"].map {
                    .linkedLibrary($0, .when(configuration: .release))
                }),

        // What tests of several modules use; test code only.
        .target(
            name: "TestSupport", dependencies: ["Platform"], path: "Tests/TestSupport",
            exclude: ["kube_api_standin.py"], swiftSettings: strict),
        // What fuzzing does with its inputs, for libFuzzer and for the tests.
        .target(
            name: "FuzzWalks", dependencies: ["MetricModel", "Monitoring"], path: "Tests/FuzzWalks",
            swiftSettings: strict),
        .testTarget(
            name: "KubernetesTests", dependencies: ["Kubernetes", "Platform", "TestSupport"], swiftSettings: strict),
        // What scripts/promql-fuzz compares a real Prometheus with.
        .executableTarget(
            name: "promql-probe", dependencies: ["MetricModel", "PromQL"], path: "Tests/PromQLProbe",
            swiftSettings: strict),

        .testTarget(
            name: "MetricModelTests", dependencies: ["MetricModel", "FuzzWalks", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "PlatformTests", dependencies: ["Platform", "TestSupport", logging] + grdb, swiftSettings: strict),
        .testTarget(name: "PromQLTests", dependencies: ["PromQL", "MetricModel"], swiftSettings: strict),
        .testTarget(
            name: "TSDBTests", dependencies: ["TSDB", "MetricModel", "Platform"], swiftSettings: strict),
        .testTarget(name: "EtcdTests", dependencies: ["Etcd", "Platform"], swiftSettings: strict),
        .testTarget(
            name: "MonitoringTests",
            dependencies: [
                "Monitoring", "MetricModel", "PromQL", "Platform", "Kubernetes", "FuzzWalks", "TestSupport",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "ClusterOpsTests",
            dependencies: ["ClusterOps", "Etcd", "Kubernetes", "Platform", "TestSupport", logging],
            exclude: [
                "Certificates/stand-in-kubeadm.sh", "Certificates/stand-in-kubelet.py", "Certificates/stand-in-pki.sh",
                "Destinations/s3server.py",
            ], swiftSettings: strict),
        .testTarget(
            name: "KopsSidecarTests",
            dependencies: [
                "Kubernetes", "KopsSidecar", "MetricModel", "Platform", "Monitoring", "ClusterOps", "TestSupport",
                lifecycle, logging,
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOEmbedded", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            exclude: ["alertmanager-configs.txt"], swiftSettings: strict),
        .testTarget(
            name: "EndToEndTests", dependencies: ["Platform", "kops-sidecar", "TestSupport"],
            exclude: [
                "webhook.py", "receivers.py", "jira_standin.py", "sns_server.py", "rule-cases", "rule-files.txt",
                "cluster-objects.json",
                "discovery.yaml",
                "discovery-targets.json", "scrape_targets.py", "scrapes.yaml", "scrapes.json",
            ],
            swiftSettings: strict),
    ],
    cxxLanguageStandard: .cxx17
)

// Built by scripts/fuzz alone, for it needs libFuzzer's instrumentation in all targets.
if Context.environment["KOPS_FUZZ"] != nil {
    package.targets.append(
        .executableTarget(
            name: "kops-fuzz",
            dependencies: ["FuzzWalks", "MetricModel", "Platform", "PromQL", "TSDB", "Monitoring", "Etcd", logging],
            path: "Tests/Fuzzing", exclude: ["corpus"], swiftSettings: strict))
}
