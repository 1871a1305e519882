#!/usr/bin/env python3
"""Targets of all kinds for ScrapeDifferenceTests: each path answers in a way of its own. Prints its port."""
import base64, gzip, http.server, socketserver, time

TEXT = "text/plain; version=0.0.4"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PAGES = {  # path: (status, type, body)
    "/labels": (200, TEXT, 'a{job="own",instance="mine",x="1"} 1\nb{exported_job="e",job="own2"} 2\n'),
    "/many": (200, TEXT, "".join('m{i="%d"} 1\n' % i for i in range(20))),
    "/long": (200, TEXT, 'm{label_that_is_long="value that is long",second="2"} 1\n'),
    "/500": (500, TEXT, "no"),
    "/404": (404, TEXT, "no"),
    "/open": (200, OPEN, "# TYPE c counter\nc_total 5\n# EOF\n"),
    "/open-without-end": (200, OPEN, "# TYPE c counter\nc_total 5\n"),
    "/broken": (200, TEXT, "ok 1\nbroken{ 1\n"),
    "/twice": (200, TEXT, "d 1\nd 2\ne 3\n"),
    "/big": (200, TEXT, 'b{x="%s"} 1\n' % ("y" * 3000)),
    "/empty": (200, TEXT, ""),
    "/drop": (200, TEXT, 'keep_me{a="1",b="2"} 1\ndrop_me 2\nren 3\n'),
    "/values": (200, TEXT, "a NaN\nb +Inf\nc -Inf\nd 1e300\nf -0.5\n"),
    "/hexadecimal": (200, TEXT, "ok 1\nbad 0x1p3\n"),
    "/histogram": (200, TEXT, '# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n'),
}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def send(self, status, kind, body, headers=()):
        data = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        now = int(time.time() * 1000)
        if path in PAGES:
            self.send(*PAGES[path])
        elif path == "/stamps":
            self.send(200, TEXT, "a 1 %d\nb 2\n" % (now - 30000))
        elif path == "/future":
            self.send(200, TEXT, "a 1 %d\nb 2\n" % (now + 1200000))
        elif path == "/query":
            self.send(200, TEXT, 'q{q="%s"} 1\n' % query)
        elif path == "/headers":
            names = ("Authorization", "X-Prometheus-Scrape-Timeout-Seconds")
            self.send(200, TEXT, "".join('header{name="%s",value="%s"} 1\n' % (n, self.headers.get(n, "")) for n in names))
        elif path == "/redirect":
            self.send(302, TEXT, "", [("Location", "/labels")])
        elif path == "/slow":
            time.sleep(3)
            self.send(200, TEXT, "x 1\n")
        elif path == "/gzip":
            self.send(200, TEXT, gzip.compress(b"z 1\n"), [("Content-Encoding", "gzip")])
        elif path == "/login":
            right = "Basic " + base64.b64encode(b"u:p").decode()
            self.send(200 if self.headers.get("Authorization") == right else 401, TEXT, "ok 1\n")
        else:
            self.send(404, TEXT, "?")


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, *_):
        pass


server = Server(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
