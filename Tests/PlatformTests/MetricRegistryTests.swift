import Testing

@testable import Platform

@Suite struct MetricRegistryTests {
    @Test func exposesEveryKind() {
        let registry = MetricRegistry()
        registry.counter("kops_b_total", "Things.", labels: [("k", "a\"b")]).add(2)
        registry.counter("kops_b_total", "Things.", labels: [("k", "a\"b")]).add()
        registry.gauge("kops_a", "A\nB").set(0.5)
        let histogram = registry.histogram("kops_c_seconds", "C.", bounds: [1, 2])
        histogram.observe(1)
        histogram.observe(5)
        registry.onCollect { $0.write("kops_d", "D.", 7) }
        #expect(
            String(decoding: registry.expose(), as: UTF8.self) == """
                # HELP kops_a A\\nB
                # TYPE kops_a gauge
                kops_a 0.5
                # HELP kops_b_total Things.
                # TYPE kops_b_total counter
                kops_b_total{k="a\\"b"} 3
                # HELP kops_c_seconds C.
                # TYPE kops_c_seconds histogram
                kops_c_seconds_bucket{le="1"} 1
                kops_c_seconds_bucket{le="2"} 1
                kops_c_seconds_bucket{le="+Inf"} 2
                kops_c_seconds_sum 6
                kops_c_seconds_count 2
                # HELP kops_d D.
                # TYPE kops_d gauge
                kops_d 7

                """)
    }
}
