"""Receivers that behave as their path says, and a mail server. receivers.py http PORT | receivers.py mail PORT CERT KEY

/ok answers 200; /flaky/N answers 500 N times first; /busy answers 429 with Retry-After 1 first; /refuse always 400; /hang never
answers. Each request is printed when it comes: time, path, count, body. The mail server offers STARTTLS, wants the user `kops`
with the password `secret`, and prints each message."""
import http.server
import sys
import threading
import time

counts, lock = {}, threading.Lock()


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        with lock:
            count = counts[self.path] = counts.get(self.path, 0) + 1
            print(f"{time.time():.3f} {self.path} {count} {body}", flush=True)
        status, headers = 200, {}
        kind = self.path.split("/")[1]
        if kind == "flaky" and count <= int(self.path.split("/")[2]):
            status = 500
        elif kind == "busy" and count == 1:
            status, headers = 429, {"Retry-After": "1"}
        elif kind == "refuse":
            status = 400
        elif kind == "hang":
            time.sleep(120)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def mail(port, certificate, key):
    import ssl
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import AuthResult, LoginPassword

    class Handler:
        async def handle_DATA(self, server, session, envelope):
            print(f"TLS {session.ssl is not None} USER {session.auth_data.login.decode()} TO {envelope.rcpt_tos}", flush=True)
            print(envelope.content.decode(), flush=True)
            return "250 OK"

    def authenticate(server, session, envelope, mechanism, data):
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"kops", b"secret")
        if not good:
            print("REFUSED", flush=True)
        return AuthResult(success=good, handled=False, auth_data=data)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    Controller(Handler(), hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True, auth_required=True,
               authenticator=authenticate).start()
    print("serving", flush=True)
    threading.Event().wait()


if sys.argv[1] == "mail":
    mail(int(sys.argv[2]), sys.argv[3], sys.argv[4])
else:
    Server(("127.0.0.1", int(sys.argv[2])), Receiver).serve_forever()
