#!/usr/bin/env python3
"""A stand-in for kubelet: runs each manifest in NODE/kubernetes/manifests as a process and ends it when the manifest goes.
etcd is the real program; the others are small TLS servers that read their certificate once, when they start, and answer 200.
Files in NODE/control make it misbehave: `no-stop-X`, `no-start-X`, `not-ready-X`, `old-certificate-X`.
NODE/starts has a line for each start. Ends with the process that started it.

stand-in-kubelet.py NODE
stand-in-kubelet.py serve NODE COMPONENT FLAGS...    (what it runs)
"""
import ctypes, http.server, os, signal, ssl, subprocess, sys, time


def end_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def serve(node, component, flags):
    options = dict(f[2:].split("=", 1) for f in flags if f.startswith("--"))
    cert, key = options.get("tls-cert-file"), options.get("tls-private-key-file")
    if cert and os.path.exists(f"{node}/control/old-certificate-{component}"):
        cert, key = f"{node}/old/{os.path.basename(cert)}", f"{node}/old/{os.path.basename(key)}"
    if not cert:
        cert, key = f"{node}/self-{component}.crt", f"{node}/self-{component}.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", key, "-out", cert, "-subj", f"/CN={component}", "-days", "1"], check=True, stderr=subprocess.DEVNULL)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            ready = not os.path.exists(f"{node}/control/not-ready-{component}")
            self.send_response(200 if ready else 500)
            self.end_headers()
            self.wfile.write(b"ok" if ready else b"[-]etcd failed: reason withheld\n")

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def get_request(self):
            connection, address = super().get_request()
            connection.settimeout(5)
            return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

        def handle_error(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = Server(("127.0.0.1", int(options["secure-port"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server.serve_forever()


def kubelet(node):
    directory, running = f"{node}/kubernetes/manifests", {}
    here = os.path.abspath(__file__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    parent = os.getppid()
    while os.getppid() == parent:
        for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else []:
            if not name.endswith(".yaml"):
                continue
            component = name.removesuffix(".yaml")
            old = running.get(component)
            if old and old.poll() is None or os.path.exists(f"{node}/control/no-start-{component}"):
                continue
            try:
                lines = open(f"{directory}/{name}").readlines()
            except FileNotFoundError:
                continue
            flags = [line.strip()[2:] for line in lines if line.strip().startswith("- --")]
            if component == "etcd":
                words, program = ["etcd", *flags, "--log-level=error", "--logger=zap"], "/usr/bin/etcd"
            else:
                words, program = [component, here, "serve", node, component, *flags], sys.executable
            log = open(f"{node}/{component}.log", "ab")
            running[component] = subprocess.Popen(words, executable=program, stdout=log, stderr=log, preexec_fn=end_with_parent)
            with open(f"{node}/starts", "a") as starts:
                starts.write(component + "\n")
        for component, process in list(running.items()):
            gone = not os.path.exists(f"{directory}/{component}.yaml")
            if gone and process.poll() is None and not os.path.exists(f"{node}/control/no-stop-{component}"):
                process.terminate()
                process.wait()
        time.sleep(0.03)


if sys.argv[1] == "serve":
    serve(sys.argv[2], sys.argv[3], sys.argv[4:])
else:
    kubelet(sys.argv[1])
