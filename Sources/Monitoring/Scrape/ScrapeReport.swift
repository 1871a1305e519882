import MetricModel
import Platform

/// The series that every scrape adds by itself: `up` and its like. Used by one scrape at a time.
struct ScrapeReport {
    private static let names = [
        "up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling",
        "scrape_series_added",
    ]

    private let labels: [Labels]
    private var refs: [SeriesRef] = []

    init(_ target: Labels) {
        labels = Self.names.map { name in
            var builder = LabelsBuilder(target)
            builder.set(Labels.metricNameLabel, name)
            return builder.labels()
        }
    }

    mutating func append(
        up: Bool, seconds: Double, counts: ScrapeCounts, at time: Int64, appender: any SampleAppender
    ) throws {
        let values = [
            up ? 1 : 0, seconds, Double(counts.scraped), Double(counts.kept), Double(counts.added),
        ]
        try append(values, at: time, appender)
    }

    /// The target is gone.
    mutating func end(at time: Int64, appender: any SampleAppender) {
        guard !refs.isEmpty else { return }
        try? append([Double](repeating: .staleMarker, count: labels.count), at: time, appender)
    }

    private mutating func append(_ values: [Double], at time: Int64, _ appender: any SampleAppender) throws {
        for attempt in 0..<2 {
            if refs.isEmpty { refs = try appender.resolve(labels) }
            var batch = SampleBatch()
            for (ref, value) in zip(refs, values) { batch.append(ref: ref, timestamp: time, value: value) }
            if try appender.append(batch).unknownRefs.isEmpty || attempt == 1 { return }
            refs = []
        }
    }
}

/// Counters over all scrapes.
struct ScrapeFigures: Sendable {
    private let scrapes: Counter
    private let failures: Counter
    private let samples: Counter
    private let duplicates: Counter
    private let outOfOrder: Counter
    private let outOfBounds: Counter

    init(_ registry: MetricRegistry) {
        scrapes = registry.counter("kops_scrapes_total", "Scrapes made.")
        failures = registry.counter("kops_scrape_failures_total", "Scrapes that failed.")
        samples = registry.counter("kops_scrape_samples_total", "Samples that scrapes brought into the store.")
        duplicates = registry.counter(
            "kops_scrape_samples_duplicate_timestamp_total", "Samples refused because another has their time.")
        outOfOrder = registry.counter(
            "kops_scrape_samples_out_of_order_total", "Samples refused because they are older than stored ones.")
        outOfBounds = registry.counter(
            "kops_scrape_samples_out_of_bounds_total", "Samples refused because their time is too far off.")
    }

    func count(_ counts: ScrapeCounts, failed: Bool) {
        scrapes.add()
        if failed { failures.add() }
        samples.add(Double(counts.outcome.appended))
        if counts.outcome.duplicate > 0 { duplicates.add(Double(counts.outcome.duplicate)) }
        if counts.outcome.outOfOrder > 0 { outOfOrder.add(Double(counts.outcome.outOfOrder)) }
        let bounds = counts.outcome.tooOld + counts.outcome.tooNew
        if bounds > 0 { outOfBounds.add(Double(bounds)) }
    }
}
