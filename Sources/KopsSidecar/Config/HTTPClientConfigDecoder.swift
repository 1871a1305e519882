import Monitoring
import Platform

/// Reads the keys of Prometheus' `http_config` from a section that may have others; the caller finishes it.
func decodeHTTPClientConfig(_ section: ConfigSection) -> HTTPClientConfig {
    var config = HTTPClientConfig()
    let file = section.node.file
    func path(_ section: ConfigSection, _ key: String) -> String? {
        section.string(key).map { resolvePath($0, relativeTo: file) }
    }
    if let basic = section.section("basic_auth") {
        var auth = HTTPClientConfig.BasicAuth()
        auth.username = basic.string("username") ?? ""
        auth.usernameFile = path(basic, "username_file")
        auth.password = basic.string("password") ?? ""
        auth.passwordFile = path(basic, "password_file")
        refuseBoth(basic, "password", "password_file")
        refuseBoth(basic, "username", "username_file")
        basic.finish()
        config.basicAuth = auth
    }
    if let authorization = section.section("authorization") {
        var auth = HTTPClientConfig.Authorization()
        auth.type = authorization.string("type") ?? "Bearer"
        auth.credentials = authorization.string("credentials") ?? ""
        auth.credentialsFile = path(authorization, "credentials_file")
        if auth.type.lowercased() == "basic" {
            section.issues.add(authorization.node, "\(authorization.node.path).type must not be basic: use basic_auth")
        }
        refuseBoth(authorization, "credentials", "credentials_file")
        authorization.finish()
        config.authorization = auth
    }
    // The forms of older files.
    if let token = section.string("bearer_token") {
        var auth = HTTPClientConfig.Authorization()
        auth.credentials = token
        config.authorization = auth
    }
    if let token = path(section, "bearer_token_file") {
        var auth = HTTPClientConfig.Authorization()
        auth.credentialsFile = token
        config.authorization = auth
    }
    if let oauth2 = section.section("oauth2") { config.oauth2 = decodeOAuth2(oauth2) }
    refuseBoth(section, "bearer_token", "bearer_token_file")
    let given = [config.basicAuth != nil, config.authorization != nil, config.oauth2 != nil].filter { $0 }.count
    if given > 1 {
        section.issues.add(
            section.node, "\(section.node.path): at most one of basic_auth, oauth2 and authorization may be given")
    }
    if let tls = section.section("tls_config") { config.tls = decodeTLSConfig(tls) }
    config.proxyURL = section.string("proxy_url")
    config.noProxy = section.string("no_proxy")
    config.proxyFromEnvironment = section.bool("proxy_from_environment") ?? false
    section.refuse("proxy_connect_header", "headers for a proxy's CONNECT cannot be set")
    if config.proxyFromEnvironment, config.proxyURL != nil || config.noProxy != nil {
        section.issues.add(
            section.node, "\(section.node.path): proxy_from_environment stands alone, without proxy_url and no_proxy")
    } else if config.noProxy != nil, config.proxyURL == nil {
        section.issues.add(section.node, "\(section.node.path): no_proxy needs a proxy_url")
    }
    config.followRedirects = section.bool("follow_redirects") ?? true
    config.enableHTTP2 = section.bool("enable_http2") ?? true
    if let headers = section.section("http_headers") {
        for name in headers.keys {
            guard let entry = headers.section(name) else { continue }
            var header = HTTPClientConfig.Header(name: name)
            header.values = entry.strings("values") ?? []
            header.secrets = entry.strings("secrets") ?? []
            header.files = (entry.strings("files") ?? []).map { resolvePath($0, relativeTo: file) }
            entry.finish()
            config.headers.append(header)
        }
    }
    return config
}

private func refuseBoth(_ section: ConfigSection, _ a: String, _ b: String) {
    if section.has(a), section.has(b) {
        section.issues.add(section.node, "\(section.node.path): at most one of \(a) and \(b) may be given")
    }
}

private func decodeOAuth2(_ section: ConfigSection) -> HTTPClientConfig.OAuth2 {
    var config = HTTPClientConfig.OAuth2()
    let file = section.node.file
    config.clientID = section.required("client_id", section.string("client_id")) ?? ""
    config.clientSecret = section.string("client_secret") ?? ""
    config.clientSecretFile = section.string("client_secret_file").map { resolvePath($0, relativeTo: file) }
    config.scopes = section.strings("scopes") ?? []
    config.tokenURL = section.required("token_url", section.string("token_url")) ?? ""
    config.endpointParams = Dictionary(
        section.stringMap("endpoint_params") ?? [], uniquingKeysWith: { _, last in last })
    if let tls = section.section("tls_config") { config.tls = decodeTLSConfig(tls) }
    config.proxyURL = section.string("proxy_url")
    _ = section.string("no_proxy")
    _ = section.bool("proxy_from_environment")
    section.refuse("proxy_connect_header", "headers for a proxy's CONNECT cannot be set")
    section.finish()
    return config
}

func decodeTLSConfig(_ section: ConfigSection) -> TLSSettings {
    var settings = TLSSettings()
    let file = section.node.file
    /// An empty one is none.
    func path(_ key: String) -> String? {
        section.string(key).flatMap { $0.isEmpty ? nil : resolvePath($0, relativeTo: file) }
    }
    settings.caPEM = section.string("ca")
    settings.certPEM = section.string("cert")
    settings.keyPEM = section.string("key")
    settings.caFile = path("ca_file")
    settings.certFile = path("cert_file")
    settings.keyFile = path("key_file")
    for key in ["ca", "cert", "key"] { refuseBoth(section, key, key + "_file") }
    let hasCert = settings.certPEM != nil || settings.certFile != nil
    let hasKey = settings.keyPEM != nil || settings.keyFile != nil
    if hasCert != hasKey {
        section.issues.add(section.node, "\(section.node.path): a certificate and its key come together")
    }
    settings.serverName = section.string("server_name")
    settings.insecureSkipVerify = section.bool("insecure_skip_verify") ?? false
    settings.minVersion = section.choice("min_version", ["TLS10", "TLS11", "TLS12", "TLS13"])
    settings.maxVersion = section.choice("max_version", ["TLS10", "TLS11", "TLS12", "TLS13"])
    section.finish()
    return settings
}
