import ClusterOps
import Platform

/// `certificates:`; nil where the section is missing, which means that nothing is renewed by itself.
func decodeCertificatesConfig(_ section: ConfigSection?) -> CertificateOptions? {
    guard let section else { return nil }
    var options = CertificateOptions()
    options.schedule = section.string("schedule")
    options.timezone = section.string("timezone")
    checkSchedule(section, "schedule", zone: options.timezone)
    options.window = decodeWindow(section.section("window"), zone: options.timezone)
    let file = section.node.file
    let kubernetes = section.string("kubernetes_directory") ?? "/etc/kubernetes"
    let kubelet = section.string("kubelet_directory") ?? "/var/lib/kubelet"
    options.renewal.layout = KubeadmLayout(kubernetesDirectory: kubernetes, kubeletDirectory: kubelet)
    if let before = section.duration("renew_before"), let at = section.node("renew_before") {
        options.renewal.renewBefore = before
        if before < 86_400_000 || before > 360 * 86_400_000 {
            section.issues.add(
                at, "certificates.renew_before must be from 1d to 360d: kubeadm's certificates live a year")
        }
    }
    options.renewal.restart = section.bool("restart") ?? true
    if let program = section.string("kubeadm") { options.renewal.kubeadm = program }
    options.renewal.config = section.string("config").map { resolvePath($0, relativeTo: file) }
    options.renewal.copies = section.strings("copies") ?? []
    for copy in options.renewal.copies where !copy.hasPrefix("/") {
        section.issues.add(
            section.node("copies") ?? section.node, "certificates.copies: \"\(copy)\" must be an absolute path")
    }
    section.finish()
    return options
}

/// `{days: [sat, sun], from: "02:00", to: "05:00", timezone: Europe/Berlin}`
func decodeWindow(_ section: ConfigSection?, zone: String?) -> MaintenanceWindow? {
    guard let section else { return nil }
    let names = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
    var days: Set<Int64> = []
    for name in section.strings("days") ?? names {
        guard let day = names.firstIndex(of: String(name.lowercased().prefix(3))), name.count <= 9 else {
            section.issues.add(
                section.node("days") ?? section.node,
                "\(section.node.path).days: \"\(name)\" is no day; write mon, tue …")
            continue
        }
        days.insert(Int64(day))
    }
    func time(_ key: String) -> Int64? {
        guard let text = section.required(key, section.string(key)), let at = section.node(key) else { return nil }
        guard let minutes = MaintenanceWindow.minutes(text) else {
            section.issues.add(at, "\(at.path) must be a time such as \"02:30\", not \"\(text)\"; quote it")
            return nil
        }
        return minutes
    }
    let (from, to) = (time("from"), time("to"))
    let name = section.string("timezone") ?? zone
    var info = ZoneInfo.utc
    if let name {
        if let found = ZoneInfo(name) {
            info = found
        } else if let at = section.node("timezone") {
            section.issues.add(at, "\(at.path): unknown time zone \"\(name)\"; name one as Europe/Berlin")
        }
    }
    section.finish()
    guard let from, let to, !days.isEmpty else { return nil }
    guard let window = MaintenanceWindow(days: days, from: from, to: to, zone: info) else {
        section.issues.add(section.node, "\(section.node.path): from and to must differ, and from be before 24:00")
        return nil
    }
    return window
}
