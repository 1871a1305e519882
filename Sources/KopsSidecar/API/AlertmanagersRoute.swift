package import Monitoring

/// Prometheus' list of the Alertmanagers that alerts are sent to.
package struct AlertmanagersRoute: Sendable {
    private let snapshot: @Sendable () -> AlertmanagersSnapshot

    package init(_ snapshot: @escaping @Sendable () -> AlertmanagersSnapshot) { self.snapshot = snapshot }

    package var routes: [Route] {
        [
            .get("/api/v1/alertmanagers") { _ in
                let found = snapshot()
                return .success { writer in
                    writer.object { writer in
                        for (key, urls) in [
                            ("activeAlertmanagers", found.active), ("droppedAlertmanagers", found.dropped),
                        ] {
                            writer.key(key)
                            writer.array(urls) { writer, url in
                                writer.object {
                                    $0.key("url")
                                    $0.string(url)
                                }
                            }
                        }
                    }
                }
            }
        ]
    }
}
