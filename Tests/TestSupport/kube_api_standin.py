#!/usr/bin/env python3
"""A stand-in for kube-apiserver, for tests: it is not Kubernetes.

Keeps objects in memory with one resourceVersion counter, and answers as recordings of real servers (1.36 and 1.20) do:
get, list (limit, continue, selectors), watch (bookmarks, 410), create, replace, patch, delete, eviction under disruption
budgets, discovery. Prints one line `listening PORT` and serves until its standard input ends.

  kube_api_standin.py [--port N] [--kubernetes 1.20|1.36] [--objects FILE.json ...] [--token T]
                      [--cert F --key F [--client-ca F]] [--history N]

Beside the API, for tests (all answer JSON, all without a token):
  POST /standin/objects     a list of objects or {"items": …}; each is put as it is
  POST /standin/fail        {"path": REGEX, "method": "GET", "status": 503, "count": 2, "retryAfter": 1, "body": …, "type": …}
  POST /standin/route       {"path": "/apis/metrics.k8s.io/v1beta1/nodes", "status": 200, "type": "application/json", "body": …}
  POST /standin/outage      {"seconds": 2}: closes every connection for so long
  POST /standin/recover     what was told to fail fails no more
  POST /standin/compact     forgets the history, so that a watch from before gets 410
  POST /standin/drop        ends all watches
  GET  /standin/requests    every request since the start: "METHOD PATH?QUERY"

Pods that are deleted or evicted go after the milliseconds in their annotation `standin/terminates-after` (default 0). A pod
whose controller is a ReplicaSet or StatefulSet comes back on a node that takes pods, ready after the milliseconds in
`standin/ready-after` (default 0), unless it has the annotation `standin/stays-gone`.
"""
import argparse, base64, copy, json, os, re, ssl, sys, threading, time, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

KINDS = [  # group, versions from 1.22 on, versions of 1.20, plural, kind, namespaced
    ("", ["v1"], ["v1"], "nodes", "Node", False),
    ("", ["v1"], ["v1"], "namespaces", "Namespace", False),
    ("", ["v1"], ["v1"], "pods", "Pod", True),
    ("", ["v1"], ["v1"], "services", "Service", True),
    ("", ["v1"], ["v1"], "endpoints", "Endpoints", True),
    ("", ["v1"], ["v1"], "events", "Event", True),
    ("", ["v1"], ["v1"], "configmaps", "ConfigMap", True),
    ("", ["v1"], ["v1"], "secrets", "Secret", True),
    ("", ["v1"], ["v1"], "serviceaccounts", "ServiceAccount", True),
    ("", ["v1"], ["v1"], "persistentvolumeclaims", "PersistentVolumeClaim", True),
    ("", ["v1"], ["v1"], "persistentvolumes", "PersistentVolume", False),
    ("", ["v1"], ["v1"], "resourcequotas", "ResourceQuota", True),
    ("apps", ["v1"], ["v1"], "deployments", "Deployment", True),
    ("apps", ["v1"], ["v1"], "daemonsets", "DaemonSet", True),
    ("apps", ["v1"], ["v1"], "statefulsets", "StatefulSet", True),
    ("apps", ["v1"], ["v1"], "replicasets", "ReplicaSet", True),
    ("batch", ["v1"], ["v1"], "jobs", "Job", True),
    ("batch", ["v1"], ["v1beta1"], "cronjobs", "CronJob", True),
    ("policy", ["v1"], ["v1beta1"], "poddisruptionbudgets", "PodDisruptionBudget", True),
    ("coordination.k8s.io", ["v1"], ["v1"], "leases", "Lease", True),
    ("discovery.k8s.io", ["v1"], ["v1beta1"], "endpointslices", "EndpointSlice", True),
    ("networking.k8s.io", ["v1"], ["v1", "v1beta1"], "ingresses", "Ingress", True),
    ("rbac.authorization.k8s.io", ["v1"], ["v1"], "clusterroles", "ClusterRole", False),
    ("rbac.authorization.k8s.io", ["v1"], ["v1"], "clusterrolebindings", "ClusterRoleBinding", False),
    ("rbac.authorization.k8s.io", ["v1"], ["v1"], "roles", "Role", True),
    ("rbac.authorization.k8s.io", ["v1"], ["v1"], "rolebindings", "RoleBinding", True),
    ("certificates.k8s.io", ["v1"], ["v1"], "certificatesigningrequests", "CertificateSigningRequest", False),
    ("storage.k8s.io", ["v1"], ["v1"], "storageclasses", "StorageClass", False),
]
BY_KIND = {k[4]: k for k in KINDS}


class Failure(Exception):
    def __init__(self, code, reason, message, details=None, headers=None):
        self.code, self.headers = code, headers or {}
        self.body = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
        if reason:
            self.body["reason"] = reason
        if details:
            self.body["details"] = details
        self.body["code"] = code


def now(micro=False):
    t = time.time()
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(t))
    return text + (".%06dZ" % (t % 1 * 1e6) if micro else "Z")


def merged(target, patch, strategic=False):
    """RFC 7386, and of strategic merging what lists of conditions, taints and containers need."""
    if not isinstance(patch, dict):
        return patch
    out = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif strategic and isinstance(value, list) and key in ("conditions", "containers", "taints", "addresses"):
            by = {"conditions": "type", "containers": "name", "taints": "key", "addresses": "type"}[key]
            old = list(out.get(key) or [])
            for item in value:
                at = next((i for i, o in enumerate(old) if o.get(by) == item.get(by)), None)
                if at is None:
                    old.append(item)
                else:
                    old[at] = merged(old[at], item, True)
            out[key] = old
        else:
            out[key] = merged(out.get(key), value, strategic)
    return out


def json_patched(target, steps):
    doc = copy.deepcopy(target)
    for step in steps:
        parts = [p.replace("~1", "/").replace("~0", "~") for p in step["path"].split("/")[1:]]
        at = doc
        for part in parts[:-1]:
            at = at[int(part)] if isinstance(at, list) else at.get(part)
            if at is None:
                raise Failure(422, "Invalid", "the server rejected our request due to an error in our request")
        last = parts[-1]
        current = at.get(last) if isinstance(at, dict) else at[int(last)] if last != "-" and int(last) < len(at) else None
        if step["op"] == "test" and current != step.get("value"):
            raise Failure(422, "Invalid", "the server rejected our request due to an error in our request")
        if step["op"] in ("remove", "replace") and current is None:
            raise Failure(422, "Invalid", "the server rejected our request due to an error in our request")
        if step["op"] in ("add", "replace"):
            if isinstance(at, list):
                at.insert(len(at) if last == "-" else int(last), step["value"])
            else:
                at[last] = step["value"]
        if step["op"] == "remove":
            del at[int(last) if isinstance(at, list) else last]
    return doc


def label_matches(selector, labels):
    for term in filter(None, re.split(r",(?![^(]*\))", selector or "")):
        term = term.strip()
        m = re.match(r"^(!?)([^\s=!]+)\s*(?:(==?|!=)\s*(\S*)|\s(in|notin)\s*\(([^)]*)\))?$", term)
        if not m:
            raise Failure(400, "BadRequest", "unable to parse requirement: " + term)
        no, key, op, value, word, many = m.groups()
        have = labels.get(key)
        if op in ("=", "==") and have != value or op == "!=" and have == value:
            return False
        if word:
            inside = have in [v.strip() for v in many.split(",")]
            if inside != (word == "in"):
                return False
        if not op and not word and (have is None) != bool(no):
            return False
    return True


def selector_object_matches(selector, labels):
    if selector is None:
        return False
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for e in selector.get("matchExpressions") or []:
        have, values = labels.get(e["key"]), e.get("values") or []
        if not {"In": have in values, "NotIn": have not in values, "Exists": have is not None,
                "DoesNotExist": have is None}[e["operator"]]:
            return False
    return True


def field(obj, path):
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return "" if obj is None else obj if isinstance(obj, str) else json.dumps(obj)


def field_matches(selector, obj):
    for term in filter(None, (selector or "").split(",")):
        m = re.match(r"^([\w.]+)(==?|!=)(.*)$", term)
        if not m:
            raise Failure(400, "BadRequest", "invalid field selector")
        if (field(obj, m[1]) == m[3]) != (m[2] != "!="):
            return False
    return True


class Store:
    def __init__(self, options):
        self.options, self.lock = options, threading.Condition()
        self.objects, self.version, self.history, self.floor = {}, 1000, [], 0
        self.failures, self.routes, self.requests = [], {}, []
        self.dark_until, self.generation = 0, 0

    def old(self):
        return self.options.kubernetes == "1.20"

    def versions(self, kind):
        return kind[2] if self.old() else kind[1]

    def put(self, kind, obj, event):
        """Under the lock: stores, counts up, tells the watchers."""
        self.version += 1
        meta = obj.setdefault("metadata", {})
        meta["resourceVersion"] = str(self.version)
        key = (kind[3], meta.get("namespace", "") if kind[5] else "", meta["name"])
        before = self.objects.get(key)
        if event == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = obj
        self.history.append((self.version, event, kind[3], copy.deepcopy(obj), before))
        if len(self.history) > self.options.history:
            self.floor = self.history[-self.options.history][0] - 1
            self.history = self.history[-self.options.history:]
        self.lock.notify_all()
        return obj

    def complete(self, kind, obj, version):
        obj = copy.deepcopy(obj)
        obj["kind"] = kind[4]
        obj["apiVersion"] = (kind[0] + "/" if kind[0] else "") + version
        meta = obj.setdefault("metadata", {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + uuid.uuid4().hex[:5]
        meta.setdefault("uid", str(uuid.uuid4()))
        meta.setdefault("creationTimestamp", now())
        return obj

    def load(self, items):
        with self.lock:
            for item in items:
                kind = BY_KIND.get(item.get("kind"))
                if kind is None:
                    continue
                meta = item.get("metadata", {})
                key = (kind[3], meta.get("namespace", "") if kind[5] else "", meta.get("name"))
                self.put(kind, self.complete(kind, item, self.versions(kind)[0]),
                         "MODIFIED" if key in self.objects else "ADDED")

    def get(self, kind, ns, name):
        obj = self.objects.get((kind[3], ns if kind[5] else "", name))
        if obj is None:
            group = "." + kind[0] if kind[0] else ""
            details = {"name": name, "kind": kind[3]}
            if kind[0]:
                details["group"] = kind[0]
            raise Failure(404, "NotFound", '%s%s "%s" not found' % (kind[3], group, name), details)
        return obj

    def conflict(self, kind, name):
        group = "." + kind[0] if kind[0] else ""
        raise Failure(409, "Conflict", 'Operation cannot be fulfilled on %s%s "%s": the object has been modified; please '
                      'apply your changes to the latest version and try again' % (kind[3], group, name),
                      {"name": name, "group": kind[0], "kind": kind[3]})

    def update(self, kind, obj):
        """Under the lock. A node that is cordoned gets its taint, as from the node lifecycle controller."""
        if kind[4] == "Node":
            spec = obj.setdefault("spec", {})
            taints = [t for t in spec.get("taints") or [] if t["key"] != "node.kubernetes.io/unschedulable"]
            if spec.get("unschedulable"):
                taints.append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
            else:
                spec.pop("unschedulable", None)
            spec.pop("taints", None)
            if taints:
                spec["taints"] = taints
        return self.put(kind, obj, "MODIFIED")

    def budgets(self, pod):
        labels = pod["metadata"].get("labels") or {}
        for (plural, ns, _), budget in list(self.objects.items()):
            if plural == "poddisruptionbudgets" and ns == pod["metadata"].get("namespace"):
                if selector_object_matches(budget.get("spec", {}).get("selector"), labels):
                    yield budget

    def allowance(self, budget):
        pods = [o for (p, ns, _), o in self.objects.items() if p == "pods" and ns == budget["metadata"]["namespace"]
                and selector_object_matches(budget["spec"].get("selector"), o["metadata"].get("labels") or {})]
        healthy = [o for o in pods if is_ready(o) and not o["metadata"].get("deletionTimestamp")]
        expected = len(pods)

        def number(value, up):
            if isinstance(value, str) and value.endswith("%"):
                share = int(value[:-1]) * expected
                return -(-share // 100) if up else share // 100
            return int(value)
        if budget["spec"].get("minAvailable") is not None:
            desired = number(budget["spec"]["minAvailable"], True)
        else:
            desired = max(0, expected - number(budget["spec"].get("maxUnavailable", 0), True))
        return desired, len(healthy), expected

    def evict(self, ns, name, body):
        version = body.get("apiVersion", "")
        if version == "policy/v1" and self.old():
            raise Failure(400, "BadRequest", 'Eviction in version "v1" cannot be handled as a Eviction: no kind "Eviction" '
                          'is registered for version "policy/v1" in scheme "pkg/api/legacyscheme/scheme.go:30"')
        with self.lock:
            pod = self.get(BY_KIND["Pod"], ns, name)
            if (body.get("metadata") or {}).get("name", name) != name:
                raise Failure(400, "BadRequest", "name in URL does not match name in Eviction object")
            wanted = ((body.get("deleteOptions") or {}).get("preconditions") or {}).get("uid")
            if wanted and wanted != pod["metadata"]["uid"]:
                raise Failure(409, "Conflict", 'Operation cannot be fulfilled on Pod "%s": the UID in the precondition (%s) '
                              "does not match the UID in record (%s). The object might have been deleted and then recreated"
                              % (name, wanted, pod["metadata"]["uid"]), {"name": name, "kind": "Pod"})
            budgets = list(self.budgets(pod))
            terminal = pod.get("status", {}).get("phase") in ("Succeeded", "Failed", "Pending")
            if len(budgets) > 1 and not terminal:
                raise Failure(500, "", "This pod has more than one PodDisruptionBudget, which the eviction subresource does "
                              "not support.")
            if budgets and not terminal and not pod["metadata"].get("deletionTimestamp"):
                desired, healthy, _ = self.allowance(budgets[0])
                if healthy - 1 < desired:
                    raise Failure(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.",
                                  {"causes": [{"reason": "DisruptionBudget", "message": "The disruption budget %s needs %d "
                                               "healthy pods and has %d currently" % (budgets[0]["metadata"]["name"], desired,
                                                                                       healthy)}]})
            if "All" not in ((body.get("deleteOptions") or {}).get("dryRun") or []):
                self.remove(BY_KIND["Pod"], pod)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

    def remove(self, kind, obj):
        """Under the lock. Pods take their time and may come back."""
        if kind[4] != "Pod":
            return self.put(kind, copy.deepcopy(obj), "DELETED")
        notes = obj["metadata"].get("annotations") or {}
        if obj["metadata"].get("deletionTimestamp"):
            return obj
        leaving = copy.deepcopy(obj)
        leaving["metadata"]["deletionTimestamp"] = now()
        leaving["metadata"]["deletionGracePeriodSeconds"] = 30
        self.put(kind, leaving, "MODIFIED")

        def later():
            time.sleep(int(notes.get("standin/terminates-after", "0")) / 1000)
            with self.lock:
                key = ("pods", obj["metadata"]["namespace"], obj["metadata"]["name"])
                current = self.objects.get(key)
                if current is None or current["metadata"]["uid"] != obj["metadata"]["uid"]:
                    return
                if current["metadata"].get("finalizers"):
                    return
                self.put(kind, copy.deepcopy(current), "DELETED")
            self.come_back(kind, obj, notes)
        threading.Thread(target=later, daemon=True).start()
        return leaving

    def come_back(self, kind, obj, notes):
        owner = next((o for o in obj["metadata"].get("ownerReferences") or [] if o.get("controller")), None)
        if not owner or owner["kind"] not in ("ReplicaSet", "StatefulSet") or "standin/stays-gone" in notes:
            return
        fresh = copy.deepcopy(obj)
        meta = fresh["metadata"]
        for key in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
            meta.pop(key, None)
        if owner["kind"] == "ReplicaSet":
            meta["name"] = owner["name"] + "-" + uuid.uuid4().hex[:5]
        with self.lock:
            nodes = [o for (p, _, _), o in self.objects.items() if p == "nodes" and is_ready(o)
                     and not o.get("spec", {}).get("unschedulable")
                     and not any(t["key"].startswith("node-role") for t in o.get("spec", {}).get("taints") or [])]
            fresh.setdefault("spec", {})["nodeName"] = nodes[self.version % len(nodes)]["metadata"]["name"] if nodes else ""
            set_ready(fresh, False)
            fresh["status"]["phase"] = "Pending"
            self.put(kind, self.complete(kind, fresh, "v1"), "ADDED")
        if not nodes:
            return
        time.sleep(int(notes.get("standin/ready-after", "0")) / 1000)
        with self.lock:
            key = ("pods", meta["namespace"], meta["name"])
            if key in self.objects:
                ready = copy.deepcopy(self.objects[key])
                set_ready(ready, True)
                ready["status"]["phase"] = "Running"
                self.put(kind, ready, "MODIFIED")


def is_ready(obj):
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in obj.get("status", {}).get("conditions") or [])


def set_ready(obj, ready):
    conditions = obj.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [c for c in conditions if c.get("type") != "Ready"]
    conditions.append({"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": now()})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    @property
    def store(self):
        return self.server.store

    def setup(self):
        if time.time() < self.server.store.dark_until:
            self.request.close()
            raise ConnectionAbortedError
        super().setup()

    def answer(self, code, body, headers=None, kind="application/json"):
        data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def handle_one(self):
        if time.time() < self.store.dark_until:
            self.close_connection = True
            return
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b""
        url = urlsplit(self.path)
        self.query = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        path = unquote(url.path)
        try:
            if path.startswith("/standin/"):
                return self.control(path[9:], raw)
            self.store.requests.append("%s %s" % (self.command, self.path))
            self.fail_if_told(path)
            if self.server.options.token and self.headers.get("Authorization") != "Bearer " + self.server.options.token:
                raise Failure(401, "Unauthorized", "Unauthorized")
            if path in self.store.routes:
                route = self.store.routes[path]
                body = route.get("body", "")
                return self.answer(route.get("status", 200), body, kind=route.get("type", "application/json"))
            self.api(path, raw)
        except Failure as failure:
            self.answer(failure.code, failure.body, failure.headers)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

    def fail_if_told(self, path):
        for rule in self.store.failures:
            if rule["count"] > 0 and rule.get("method", self.command) == self.command and re.search(rule["path"], path):
                rule["count"] -= 1
                headers = {"Retry-After": str(rule["retryAfter"])} if "retryAfter" in rule else {}
                failure = Failure(rule["status"], rule.get("reason", ""), rule.get("message", "told to fail"), None, headers)
                if "body" in rule:
                    failure.body = rule["body"]
                raise failure

    def control(self, what, raw):
        body = json.loads(raw) if raw else {}
        store = self.store
        if what == "objects":
            store.load(body if isinstance(body, list) else body.get("items", [body]))
        elif what == "fail":
            store.failures.append(dict(body, count=body.get("count", 1)))
        elif what == "recover":
            store.failures.clear()
        elif what == "route":
            store.routes[body["path"]] = body
        elif what == "outage":
            with store.lock:
                store.dark_until = time.time() + body["seconds"]
                store.generation += 1
                store.lock.notify_all()
        elif what == "drop":
            with store.lock:
                store.generation += 1
                store.lock.notify_all()
        elif what == "compact":
            with store.lock:
                store.version += 1
                store.floor, store.history = store.version, []
        elif what == "requests":
            return self.answer(200, store.requests)
        else:
            return self.answer(404, {})
        self.answer(200, {})

    def api(self, path, raw):
        store = self.store
        if path == "/version":
            minor = store.options.kubernetes.split(".")[1]
            patch = ".2"
            return self.answer(200, {"major": "1", "minor": minor, "gitVersion": "v1." + minor + patch,
                                     "platform": "linux/amd64"})
        if path in ("/healthz", "/livez", "/readyz"):
            return self.answer(200, "ok", kind="text/plain; charset=utf-8")
        if path == "/api":
            return self.answer(200, {"kind": "APIVersions", "versions": ["v1"]})
        if path == "/apis":
            groups = sorted({k[0] for k in KINDS if k[0]})
            return self.answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [self.group(g) for g in groups]})
        parts = path.strip("/").split("/")
        if parts[0] == "api" and len(parts) >= 2:
            group, version, rest = "", parts[1], parts[2:]
        elif parts[0] == "apis" and len(parts) == 2 and any(k[0] == parts[1] for k in KINDS):
            return self.answer(200, self.group(parts[1]))
        elif parts[0] == "apis" and len(parts) >= 3:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            return self.answer(404, "404 page not found\n", kind="text/plain; charset=utf-8")
        offered = [k for k in KINDS if k[0] == group and version in store.versions(k)]
        if not offered:
            return self.answer(404, "404 page not found\n", kind="text/plain; charset=utf-8")
        if not rest:
            return self.answer(200, self.resources(group, version, offered))
        ns = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            ns, rest = rest[1], rest[2:]
        kind = next((k for k in offered if k[3] == rest[0]), None)
        if kind is None or len(rest) > 3:
            return self.answer(404, "404 page not found\n", kind="text/plain; charset=utf-8")
        name = rest[1] if len(rest) > 1 else None
        sub = rest[2] if len(rest) > 2 else None
        body = self.parsed(raw) if raw else {}
        if name is None:
            return self.collection(kind, version, ns, body)
        self.single(kind, version, ns, name, sub, body)

    def parsed(self, raw):
        try:
            return json.loads(raw)
        except ValueError:
            raise Failure(400, "BadRequest", "the object provided is unrecognized: couldn't get version/kind; json parse error")

    def group(self, group):
        versions = []
        for k in KINDS:
            if k[0] == group:
                versions += [v for v in self.store.versions(k) if v not in versions]
        versions.sort(key=lambda v: "beta" in v)
        listed = [{"groupVersion": group + "/" + v, "version": v} for v in versions]
        return {"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": listed, "preferredVersion": listed[0]}

    def resources(self, group, version, offered):
        listed = [{"name": k[3], "singularName": "", "namespaced": k[5], "kind": k[4],
                   "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"]} for k in offered]
        if group == "":
            listed.append({"name": "pods/eviction", "singularName": "", "namespaced": True, "group": "policy",
                           "version": "v1beta1" if self.store.old() else "v1", "kind": "Eviction", "verbs": ["create"]})
        return {"kind": "APIResourceList", "groupVersion": (group + "/" if group else "") + version, "resources": listed}

    def selects(self, ns, obj):
        meta = obj["metadata"]
        return ((not ns or meta.get("namespace") == ns) and label_matches(self.query.get("labelSelector"),
                meta.get("labels") or {}) and field_matches(self.query.get("fieldSelector"), obj))

    def collection(self, kind, version, ns, body):
        store = self.store
        if self.command == "GET" and self.query.get("watch") in ("true", "1"):
            return self.watch(kind, version, ns)
        if self.command == "GET":
            with store.lock:
                at = store.version
                found = sorted((k, o) for k, o in store.objects.items() if k[0] == kind[3] and self.selects(ns, o))
                items = [o for _, o in found]
            start, meta = 0, {}
            if "continue" in self.query:
                try:
                    token = json.loads(base64.b64decode(self.query["continue"]))
                except ValueError:
                    raise Failure(400, "BadRequest", "continue key is not valid: illegal base64 data")
                if token["rv"] < store.floor:
                    raise Failure(410, "Expired", "The provided continue parameter is too old to display a consistent list "
                                  "result.")
                start, at = token["start"], token["rv"]
            limit = int(self.query.get("limit") or 0)
            if limit and start + limit < len(items):
                meta["continue"] = base64.b64encode(json.dumps({"rv": at, "start": start + limit}).encode()).decode()
                meta["remainingItemCount"] = len(items) - start - limit
            items = items[start:start + limit] if limit else items[start:]
            meta["resourceVersion"] = str(at)
            text = json.dumps({"kind": kind[4] + "List", "apiVersion": (kind[0] + "/" if kind[0] else "") + version,
                               "metadata": meta, "items": items})
            return self.answer(200, text)
        if self.command != "POST":
            raise Failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        with store.lock:
            obj = store.complete(kind, body, version)
            if kind[5]:
                obj["metadata"]["namespace"] = ns
            if not re.match(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", obj["metadata"].get("name", "")):
                raise Failure(422, "Invalid", '%s "%s" is invalid: metadata.name: Invalid value' % (
                    kind[4], obj["metadata"].get("name", "")))
            key = (kind[3], ns if kind[5] else "", obj["metadata"]["name"])
            if key in store.objects:
                group = "." + kind[0] if kind[0] else ""
                raise Failure(409, "AlreadyExists", '%s%s "%s" already exists' % (kind[3], group, key[2]),
                              {"name": key[2], "group": kind[0], "kind": kind[3]})
            made = store.put(kind, obj, "ADDED")
        self.answer(201, made)

    def single(self, kind, version, ns, name, sub, body):
        store = self.store
        if sub == "eviction" and self.command == "POST":
            return self.answer(201, store.evict(ns, name, body))
        if sub not in (None, "status", "scale"):
            return self.answer(404, "404 page not found\n", kind="text/plain; charset=utf-8")
        if self.command == "GET":
            with store.lock:
                return self.answer(200, store.get(kind, ns, name))
        if self.command == "PUT":
            with store.lock:
                key = (kind[3], ns if kind[5] else "", name)
                if key not in store.objects:
                    if kind[4] != "Lease":
                        store.get(kind, ns, name)
                    made = store.put(kind, store.complete(kind, body, version), "ADDED")
                    return self.answer(201, made)
                sent = (body.get("metadata") or {}).get("resourceVersion")
                if not sent and kind[4] == "Lease":
                    raise Failure(422, "Invalid", '%s.%s "%s" is invalid: metadata.resourceVersion: Invalid value: 0: must be '
                                  "specified for an update" % (kind[3], kind[0], name))
                if sent and sent != store.objects[key]["metadata"]["resourceVersion"]:
                    store.conflict(kind, name)
                obj = store.complete(kind, body, version)
                obj["metadata"]["uid"] = store.objects[key]["metadata"]["uid"]
                return self.answer(200, store.update(kind, obj))
        if self.command == "PATCH":
            return self.patch(kind, version, ns, name, body)
        if self.command == "DELETE":
            with store.lock:
                obj = store.get(kind, ns, name)
                conditions = (body or {}).get("preconditions") or {}
                if conditions.get("resourceVersion", obj["metadata"]["resourceVersion"]) != obj["metadata"]["resourceVersion"]:
                    store.conflict(kind, name)
                if conditions.get("uid", obj["metadata"]["uid"]) != obj["metadata"]["uid"]:
                    store.conflict(kind, name)
                store.remove(kind, obj)
            return self.answer(200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                                     "details": {"name": name, "group": kind[0], "kind": kind[3],
                                                 "uid": obj["metadata"]["uid"]}})
        raise Failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def patch(self, kind, version, ns, name, body):
        store = self.store
        how = (self.headers.get("Content-Type") or "").split(";")[0]
        with store.lock:
            key = (kind[3], ns if kind[5] else "", name)
            if how == "application/apply-patch+yaml" and key not in store.objects:
                obj = store.complete(kind, body, version)
                if kind[5]:
                    obj["metadata"]["namespace"] = ns
                return self.answer(201, store.put(kind, obj, "ADDED"))
            old = store.get(kind, ns, name)
            if how == "application/json-patch+json":
                fresh = json_patched(old, body)
            elif how in ("application/merge-patch+json", "application/strategic-merge-patch+json",
                         "application/apply-patch+yaml"):
                fresh = merged(old, body, strategic=how != "application/merge-patch+json")
            else:
                raise Failure(415, "UnsupportedMediaType", "the body of the request was in an unknown format")
            sent = ((body.get("metadata") or {}).get("resourceVersion")) if isinstance(body, dict) else None
            if sent and sent != old["metadata"]["resourceVersion"]:
                store.conflict(kind, name)
            if "All" in self.query.get("dryRun", ""):
                return self.answer(200, fresh)
            self.answer(200, store.update(kind, copy.deepcopy(fresh)))

    def watch(self, kind, version, ns):
        store = self.store
        end = time.time() + float(self.query.get("timeoutSeconds") or 1800)
        asked = self.query.get("resourceVersion") or ""
        bookmarks = self.query.get("allowWatchBookmarks") == "true"
        if asked and not asked.isdigit():
            raise Failure(500, "", 'resourceVersion: Invalid value: "%s": strconv.ParseUint: parsing "%s": invalid syntax'
                          % (asked, asked))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

        def send(frame):
            data = (json.dumps(frame) + "\n").encode()
            self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")
            self.wfile.flush()
        try:
            with store.lock:
                generation = store.generation
                if asked and asked != "0":
                    at = int(asked)
                    if at < store.floor:
                        send({"type": "ERROR", "object": Failure(410, "Expired", "too old resource version: %d (%d)" % (
                            at, store.floor)).body})
                        end = 0
                else:
                    at = store.version
                    for key, obj in sorted(store.objects.items()):
                        if key[0] == kind[3] and self.selects(ns, obj):
                            send({"type": "ADDED", "object": obj})
            bookmarked = time.time()
            while time.time() < end and store.generation == generation:
                with store.lock:
                    store.lock.wait_for(lambda: store.version > at or store.generation != generation, timeout=min(
                        0.5, max(0.01, end - time.time())))
                    news = [h for h in store.history if h[0] > at]
                    newest = store.version
                for number, event, plural, obj, before in news:
                    if plural != kind[3]:
                        continue
                    is_in, was_in = self.selects(ns, obj), before is not None and self.selects(ns, before)
                    if event == "DELETED" and is_in:
                        send({"type": "DELETED", "object": obj})
                    elif event != "DELETED" and is_in:
                        send({"type": "MODIFIED" if was_in else "ADDED", "object": obj})
                    elif event != "DELETED" and was_in:
                        send({"type": "DELETED", "object": obj})
                at = max(at, newest) if at <= newest else at
                if bookmarks and time.time() - bookmarked > self.server.options.bookmarks:
                    bookmarked = time.time()
                    if at <= newest:
                        send({"type": "BOOKMARK", "object": {"kind": kind[4], "apiVersion": version,
                                                             "metadata": {"resourceVersion": str(at)}}})
            if store.generation == generation:
                self.wfile.write(b"0\r\n\r\n")
            self.close_connection = True
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError, OSError)):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--kubernetes", default="1.36", choices=["1.20", "1.36"])
    parser.add_argument("--objects", action="append", default=[])
    parser.add_argument("--token")
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--client-ca")
    parser.add_argument("--history", type=int, default=10000)
    parser.add_argument("--bookmarks", type=float, default=1.0, help="seconds between bookmarks")
    options = parser.parse_args()
    server = Server(("127.0.0.1", options.port), Handler)
    server.options, server.store = options, Store(options)
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
        if options.client_ca:
            context.load_verify_locations(options.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    for file in options.objects:
        with open(file) as f:
            loaded = json.load(f)
        items = loaded if isinstance(loaded, list) else loaded.get("items", [loaded])
        for item in items:
            # The items of a recorded list do not say what they are.
            item.setdefault("kind", (loaded.get("kind", "") if isinstance(loaded, dict) else "").removesuffix("List"))
        server.store.load(items)
    print("listening", server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
