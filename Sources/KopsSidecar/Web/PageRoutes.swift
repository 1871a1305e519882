/// The web page at `/`: static files that read the same API as everybody else. No framework, nothing from elsewhere: it
/// works where there is no internet, and its content policy allows nothing but what this process serves.
package func pageRoutes() -> [Route] {
    func file(_ type: String, _ text: String) -> Route.Handler {
        let bytes = Array(text.utf8)
        return { _ in
            var reply = APIReply(200, type, bytes)
            reply.headers.append(
                ("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"))
            reply.headers.append(("Cache-Control", "no-cache"))
            reply.headers.append(("Referrer-Policy", "no-referrer"))
            return reply
        }
    }
    return [
        .get("/", file("text/html; charset=utf-8", PageFiles.html)),
        .get("/assets/page.css", file("text/css; charset=utf-8", PageFiles.style)),
        .get("/assets/base.js", file("text/javascript; charset=utf-8", PageFiles.base)),
        .get("/assets/chart.js", file("text/javascript; charset=utf-8", PageFiles.chart)),
        .get("/assets/views.js", file("text/javascript; charset=utf-8", PageFiles.views)),
        .get("/assets/actions.js", file("text/javascript; charset=utf-8", PageFiles.actions)),
    ]
}

/// The page's files, one Swift file each.
enum PageFiles {}
