"""moto's S3 server on loopback, and before it a proxy that does to requests what networks and stores do.

    python3 s3server.py CHECK-SIGNATURES(0|1)

Prints "moto-port proxy-port access-key secret-key" and ends when standard input does. Faults are told to the proxy by
POST /-/faults with a list of objects: kind, method (a prefix of "METHOD path?query" to match, "" for any), times.
Kinds: status (answer 503 and do not forward), throttle (503 SlowDown with Retry-After 0), cut-request (close in the midst
of the body), cut-answer (close in the midst of the answer's body), lose-answer (forward, then close without an answer),
stall (forward nothing for ten seconds, then close), late-error (200 with an error in the body; not forwarded),
no-conditions (501 to a conditional write, as stores that do not know them; not forwarded).
"""

import http.client
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHECK = sys.argv[1] == "1"
if CHECK:
    # Calls that make the user; from then on moto checks signatures as IAM does.
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "4"

from moto.server import ThreadedMotoServer  # noqa: E402

faults, faults_lock, seen = [], threading.Lock(), []


def fault_for(line):
    with faults_lock:
        for fault in faults:
            if fault["times"] > 0 and line.startswith(fault["method"]):
                fault["times"] -= 1
                return fault["kind"]
    return None


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream = 0

    def log_message(self, *_):
        pass

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def cut(self):
        self.close_connection = True
        self.wfile.flush()
        try:
            self.connection.shutdown(2)
        except OSError:
            pass

    def handle_any(self):
        length = int(self.headers.get("Content-Length") or 0)
        if self.path == "/-/faults":
            new = json.loads(self.rfile.read(length))
            with faults_lock:
                faults[:] = new
                seen.clear()
            return self.answer(200, b"")
        if self.path == "/-/seen":
            return self.answer(200, json.dumps(seen).encode())
        line = f"{self.command} {self.path}"
        with faults_lock:
            seen.append(line)
        kind = fault_for(line)
        if kind == "cut-request":
            self.rfile.read(length // 2)
            return self.cut()
        if kind == "stall":
            time.sleep(10)
            return self.cut()
        body = self.rfile.read(length)
        if kind == "status":
            return self.answer(503, b"")
        if kind == "throttle":
            text = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            return self.answer(503, text, [("Retry-After", "0")])
        if kind == "no-conditions" and self.headers.get("If-None-Match"):
            text = b"<Error><Code>NotImplemented</Code><Message>A header is not implemented.</Message></Error>"
            return self.answer(501, text)
        if kind == "late-error":
            return self.answer(200, b"<Error><Code>InternalError</Code><Message>again, please</Message></Error>")
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "expect"):
                connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        data = answer.read()
        if kind == "lose-answer":
            return self.cut()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        size = answer.getheader("Content-Length") if self.command == "HEAD" else len(data)
        self.send_header("Content-Length", str(size or 0))
        self.end_headers()
        if kind == "cut-answer":
            self.wfile.write(data[: len(data) * 2 // 3])
            return self.cut()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any


server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
Proxy.upstream = port
proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=proxy.serve_forever, daemon=True).start()

access, secret = "test", "test"
if CHECK:
    import boto3

    options = {
        "endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1",
        "aws_access_key_id": "x", "aws_secret_access_key": "x",
    }
    boto3.client("s3", **options).create_bucket(Bucket="checked")
    iam = boto3.client("iam", **options)
    iam.create_user(UserName="kops")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="kops", PolicyName="all", PolicyDocument=json.dumps(everything))
    key = iam.create_access_key(UserName="kops")["AccessKey"]
    access, secret = key["AccessKeyId"], key["SecretAccessKey"]

print(port, proxy.server_address[1], access, secret, flush=True)
sys.stdin.read()
os._exit(0)
