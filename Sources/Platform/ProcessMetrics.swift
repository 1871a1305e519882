import Glibc

extension MetricRegistry {
    /// The process' own figures under the names every Prometheus client uses, read from /proc when asked for.
    package func addProcessMetrics() {
        _ = processStartSeconds
        onCollect { writer in
            let ticks = Double(max(1, sysconf(Int32(_SC_CLK_TCK))))
            guard let bytes = try? FileSystem.read("/proc/self/stat", maxBytes: 65536) else { return }
            // The command's name in parentheses may hold blanks; the numbers come after the last parenthesis.
            let text = String(decoding: bytes, as: UTF8.self)
            guard let end = text.lastIndex(of: ")") else { return }
            let fields = text[text.index(after: end)...].split(separator: " ").compactMap { Double($0) }
            // Without the state (a letter): field n of proc(5) is at n − 4.
            guard fields.count > 20 else { return }
            writer.write(
                "process_cpu_seconds_total", "User and system CPU time.", type: "counter",
                (fields[10] + fields[11]) / ticks)
            writer.write(
                "process_threads", "Threads of the process.", type: "gauge", fields[16])
            writer.write(
                "process_virtual_memory_bytes", "Virtual memory.", type: "gauge", fields[19])
            writer.write(
                "process_resident_memory_bytes", "Resident memory.", type: "gauge",
                fields[20] * Double(sysconf(Int32(_SC_PAGESIZE))))
            writer.write(
                "process_start_time_seconds", "When the process started, in Unix time.", type: "gauge",
                processStartSeconds)
            if let names = try? FileSystem.list("/proc/self/fd") {
                writer.write(
                    "process_open_fds", "Open file descriptors.", type: "gauge", Double(names.count))
            }
            var limit = rlimit()
            if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
                writer.write(
                    "process_max_fds", "The limit of open file descriptors.", type: "gauge", Double(limit.rlim_cur))
            }
        }
    }
}

/// When this process first asked, in Unix seconds: early enough to stand for its start.
package let processStartSeconds = Double(WallClock.system.nowMilliseconds()) / 1000
