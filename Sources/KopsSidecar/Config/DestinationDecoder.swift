import ClusterOps
import Platform

/// One of `backup.destinations`: a directory, an S3-compatible bucket or a directory of an SFTP server. Nil where it is none.
func decodeDestination(_ section: ConfigSection) -> DestinationOptions? {
    let name = section.required("name", section.string("name")) ?? ""
    let retention = decodeBackupRetention(section.section("retention"))
    defer { section.finish() }
    if name.contains("/") || name == "latest" {
        section.issues.add(
            section.node("name") ?? section.node, "\(section.node.path).name: \"\(name)\" is no name for a destination")
    }
    let places = ["path", "s3", "sftp"].filter(section.has)
    guard places.count == 1 else {
        section.issues.add(section.node, "\(section.node.path) needs exactly one of path, s3 and sftp")
        return nil
    }
    if section.has("path"), let path = section.required("path", section.string("path")) {
        return DestinationOptions(name: name, place: .local(LocalOptions(path: path)), retention: retention)
    }
    if let s3 = section.section("s3") {
        return DestinationOptions(name: name, place: .s3(decodeS3(s3)), retention: retention)
    }
    if let sftp = section.section("sftp") {
        return DestinationOptions(name: name, place: .sftp(decodeSFTP(sftp)), retention: retention)
    }
    return nil
}

private func decodeS3(_ section: ConfigSection) -> S3Options {
    var options = S3Options()
    let file = section.node.file
    func path(_ key: String) -> String? { section.string(key).map { resolvePath($0, relativeTo: file) } }
    func problem(_ key: String, _ text: String) {
        section.issues.add(section.node(key) ?? section.node, "\(section.node.path).\(key): \(text)")
    }
    options.bucket = section.required("bucket", section.string("bucket")) ?? ""
    options.prefix = section.string("prefix") ?? ""
    options.region = section.string("region") ?? options.region
    options.endpoint = section.string("endpoint") ?? "https://s3.\(options.region).amazonaws.com"
    if !options.endpoint.hasPrefix("https://") && !options.endpoint.hasPrefix("http://") {
        problem("endpoint", "\"\(options.endpoint)\" must be a URL such as https://s3.example.com")
    }
    options.accessKeyFile = section.required("access_key_file", path("access_key_file"))
    options.secretKeyFile = section.required("secret_key_file", path("secret_key_file"))
    options.sessionTokenFile = path("session_token_file")
    options.pathStyle = section.bool("path_style") ?? true
    options.caFile = path("ca_file")
    options.insecureSkipVerify = section.bool("insecure_skip_verify") ?? false
    options.proxy = section.string("proxy_url")
    options.serverSideEncryption = section.choice("server_side_encryption", ["AES256", "aws:kms"])
    options.kmsKeyID = section.string("kms_key_id")
    if options.kmsKeyID != nil, options.serverSideEncryption != "aws:kms" {
        problem("kms_key_id", "needs server_side_encryption: aws:kms")
    }
    options.storageClass = section.string("storage_class")
    if let lock = section.section("object_lock") {
        options.objectLockMode = lock.required("mode", lock.choice("mode", ["GOVERNANCE", "COMPLIANCE"]))
        options.objectLockFor = lock.required("for", lock.duration("for"))
        lock.finish()
    }
    if let size = section.byteSize("part_size") {
        if size < 5 << 20 || size > 5 << 30 { problem("part_size", "must be between 5MiB and 5GiB") }
        options.partSize = size
    }
    options.timeout = section.duration("timeout") ?? options.timeout
    section.finish()
    return options
}

private func decodeSFTP(_ section: ConfigSection) -> SFTPOptions {
    var options = SFTPOptions()
    let file = section.node.file
    func path(_ key: String) -> String? { section.string(key).map { resolvePath($0, relativeTo: file) } }
    options.host = section.required("host", section.string("host")) ?? ""
    options.port = section.int("port", range: 1...65535) ?? options.port
    options.user = section.required("user", section.string("user")) ?? ""
    options.path = section.required("path", section.string("path")) ?? ""
    if !options.path.isEmpty, !options.path.hasPrefix("/") {
        section.issues.add(
            section.node("path") ?? section.node,
            "\(section.node.path).path: \"\(options.path)\" must be absolute on the server")
    }
    options.privateKeyFile = path("private_key_file")
    options.passphraseFile = path("passphrase_file")
    options.passwordFile = path("password_file")
    if options.privateKeyFile == nil, options.passwordFile == nil {
        section.issues.add(section.node, "\(section.node.path) needs private_key_file or password_file")
    }
    options.knownHostsFile = path("known_hosts_file")
    options.hostKeySHA256 = section.string("host_key_sha256").map { text in
        var hash = text.hasPrefix("SHA256:") ? String(text.dropFirst(7)) : text
        while hash.hasSuffix("=") { hash.removeLast() }
        return hash
    }
    if options.knownHostsFile == nil, options.hostKeySHA256 == nil {
        section.issues.add(
            section.node,
            "\(section.node.path) needs known_hosts_file or host_key_sha256: a server that is not known is not trusted")
    }
    options.timeout = section.duration("timeout") ?? options.timeout
    section.finish()
    return options
}

private func decodeBackupRetention(_ section: ConfigSection?) -> RetentionOptions {
    var options = RetentionOptions()
    guard let section else { return options }
    func count(_ key: String) -> Int? { section.int(key, range: 0...1_000_000) }
    options.keepLast = count("keep_last")
    options.keepHourly = count("keep_hourly")
    options.keepDaily = count("keep_daily")
    options.keepWeekly = count("keep_weekly")
    options.keepMonthly = count("keep_monthly")
    options.maxAge = section.duration("max_age")
    options.maxSize = section.byteSize("max_size")
    options.pruneOnDemand = section.bool("prune_on_demand") ?? false
    section.finish()
    return options
}
