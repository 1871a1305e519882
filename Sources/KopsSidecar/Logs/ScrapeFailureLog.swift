import Monitoring
import Platform

/// `scrape_failure_log_file`: one JSON object a line for each scrape that failed, with the keys that Prometheus' log has.
func logFailedScrape(
    _ files: LineFiles, _ clock: WallClock, file: String, job: String, target: String, problem: String
) {
    var writer = JSONWriter()
    writer.object { writer in
        let fields = [
            ("time", formatRFC3339(clock.nowMilliseconds())), ("level", "ERROR"), ("msg", problem), ("job_name", job),
            ("target", target),
        ]
        for (key, value) in fields {
            writer.key(key)
            writer.string(value)
        }
    }
    files.add(writer.bytes, to: file)
}

extension SidecarConfig {
    /// The files that lines are added to, by what the configuration names.
    var logFiles: Set<String> {
        Set(scrapeConfigs.compactMap(\.failureLog)).union(global.queryLogFile.map { [$0] } ?? [])
    }
}
