"""A stand-in for Jira: not Jira, but its REST API's answers to what a notifier asks (search by label, create, update, list
transitions, transition), as its public documentation describes them. Every request is a line of JSON on standard output, issues
are kept in memory. usage: jira_standin.py PORT [STATUS COUNT: answer so to the first COUNT requests]
"""
import http.server, json, re, sys, time

issues, failures = {}, [int(v) for v in sys.argv[2:4]] if len(sys.argv) > 3 else [0, 0]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, body=None):
        text = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def handle_any(self):
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        print(json.dumps({"method": self.command, "path": self.path, "body": body,
                          "auth": self.headers.get("authorization"), "type": self.headers.get("content-type"),
                          "language": self.headers.get("accept-language")}, sort_keys=True), flush=True)
        if failures[1] > 0:
            failures[1] -= 1
            return self.reply(failures[0], {"errorMessages": ["not now"]})
        path = self.path.split("/rest/api/")[-1].split("/", 1)[-1]
        if path in ("search", "search/jql"):
            return self.search(body["jql"])
        if path == "issue":
            key = f"OPS-{len(issues) + 1}"
            issues[key] = {"fields": body["fields"], "done": False, "resolved": None}
            return self.reply(201, {"id": str(len(issues)), "key": key})
        parts = path.split("/")
        issue = issues.get(parts[1]) if len(parts) > 1 else None
        if issue is None:
            return self.reply(404, {"errorMessages": ["Issue does not exist"]})
        if len(parts) == 2 and self.command == "PUT":
            issue["fields"].update(body["fields"])
            return self.reply(204)
        if parts[2:] == ["transitions"] and self.command == "GET":
            return self.reply(200, {"transitions": [{"id": "11", "name": "Start"}, {"id": "31", "name": "Close"},
                                                    {"id": "41", "name": "Reopen"}]})
        if parts[2:] == ["transitions"]:
            issue["done"] = body["transition"]["id"] == "31"
            issue["resolved"] = time.time() if issue["done"] else None
            return self.reply(204)
        self.reply(405)

    def search(self, jql):
        label = re.search(r'labels="([^"]*)"', jql).group(1)
        found = [(key, issue) for key, issue in issues.items() if label in issue["fields"]["labels"]]
        if "statusCategory != Done" in jql:
            found = [(key, issue) for key, issue in found if not issue["done"]]
        self.reply(200, {"issues": [
            {"id": key, "key": key, "fields": {"status": {
                "name": "Closed" if issue["done"] else "Open",
                "statusCategory": {"key": "done" if issue["done"] else "new"}}}} for key, issue in found[:2]]})

    do_GET = do_POST = do_PUT = handle_any


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
