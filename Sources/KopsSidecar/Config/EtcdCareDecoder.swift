import ClusterOps

/// `etcd.defragment`.
func decodeDefragment(_ section: ConfigSection) -> DefragmentOptions {
    var options = DefragmentOptions()
    options.schedule = section.string("schedule")
    options.timezone = section.string("timezone")
    checkSchedule(section, "schedule", zone: options.timezone)
    if let part = section.double("min_fragmentation") {
        if part < 0 || part > 1 {
            section.issues.add(
                section.node("min_fragmentation") ?? section.node,
                "\(section.node.path).min_fragmentation must be between 0 and 1")
        }
        options.minFragmentation = part
    }
    options.minFree = section.byteSize("min_free") ?? options.minFree
    options.timeout = section.duration("timeout") ?? options.timeout
    section.finish()
    return options
}
