/// The web page at `/`: three small static files that read the same API as everybody else.
enum PageFiles {
    static let html = """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>kops-sidecar</title>
        <link rel="stylesheet" href="/assets/page.css">
        <link rel="icon" href="data:,">
        <script src="/assets/page.js" defer></script>
        </head>
        <body>
        <header>
          <h1>kops-sidecar <small id="cluster"></small></h1>
          <p id="summary" role="status">loading …</p>
        </header>
        <main>
          <section><h2>Alerts</h2><div id="alerts"></div></section>
          <section><h2>Backups</h2><div id="backups"></div></section>
          <section><h2>Jobs</h2><div id="jobs"></div></section>
          <section><h2>Certificates</h2><div id="certificates"></div></section>
          <section><h2>Targets</h2><div id="targets"></div></section>
          <section><h2>Query</h2>
            <form id="query">
              <input name="expression" aria-label="PromQL expression" placeholder="up" autocomplete="off" spellcheck="false">
              <select name="range" aria-label="time range">
                <option value="0">now</option><option value="3600" selected>1 hour</option>
                <option value="21600">6 hours</option><option value="86400">1 day</option>
                <option value="604800">7 days</option>
              </select>
              <button>Run</button>
            </form>
            <div id="graph"></div><div id="result"></div>
          </section>
          <section><h2>Rules</h2><div id="rules"></div></section>
        </main>
        </body>
        </html>

        """

    static let css = """
        :root { --ink: #1d2733; --dim: #5c6b7a; --line: #d6dde4; --ground: #ffffff; --good: #1a7f37; --bad: #c62828;
          --warn: #9a6700; color-scheme: light dark; }
        @media (prefers-color-scheme: dark) { :root { --ink: #e3e9ef; --dim: #9aa8b5; --line: #34404c; --ground: #14191f;
          --good: #57ab5a; --bad: #f47067; --warn: #d4a72c; } }
        body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--ground); color: var(--ink);
          font: 15px/1.45 system-ui, sans-serif; }
        h1 { font-size: 1.4rem; margin: 0; } h1 small { color: var(--dim); font-weight: normal; }
        h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
        .scroll { overflow-x: auto; }
        table { border-collapse: collapse; width: 100%; }
        th, td { text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line);
          vertical-align: top; }
        th { color: var(--dim); font-weight: 600; }
        td.number { font-variant-numeric: tabular-nums; }
        .good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); } .dim { color: var(--dim); }
        code { font: 13px/1.4 ui-monospace, monospace; word-break: break-word; }
        form { display: flex; gap: .5rem; flex-wrap: wrap; } input { flex: 1 1 20rem; font: 14px ui-monospace, monospace; }
        input, select, button { padding: .35rem .6rem; border: 1px solid var(--line); border-radius: .25rem;
          background: inherit; color: inherit; }
        svg { width: 100%; height: 16rem; } svg text { fill: var(--dim); font-size: 11px; }
        svg line { stroke: var(--line); } svg path { fill: none; stroke-width: 1.5; }

        """

    static let script = #"""
        "use strict";
        const byId = id => document.getElementById(id);
        const element = (tag, text, className) => {
          const node = document.createElement(tag);
          if (text !== undefined && text !== null) node.textContent = String(text);
          if (className) node.className = className;
          return node;
        };
        const get = async path => {
          const reply = await fetch(path);
          const body = await reply.json();
          if (!reply.ok) throw new Error(body.error || reply.statusText);
          return body.data === undefined ? body : body.data;
        };
        const age = seconds => {
          const s = Math.max(0, Math.round(seconds));
          if (s < 90) return s + " s";
          if (s < 5400) return Math.round(s / 60) + " min";
          if (s < 172800) return Math.round(s / 3600) + " h";
          return Math.round(s / 86400) + " d";
        };
        const since = time => {
          const at = typeof time === "number" ? time : Date.parse(time) / 1000;
          return !at || at < 0 ? "never" : age(Date.now() / 1000 - at) + " ago";
        };
        const bytes = n => {
          const units = ["B", "KiB", "MiB", "GiB", "TiB"];
          let i = 0;
          while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
          return (i ? n.toFixed(1) : n) + " " + units[i];
        };
        const show = (id, columns, rows, empty) => {
          const place = byId(id);
          if (!rows.length) { place.replaceChildren(element("p", empty, "dim")); return; }
          const table = element("table"), head = element("tr"), body = element("tbody");
          for (const column of columns) head.append(element("th", column));
          for (const row of rows) {
            const line = element("tr");
            for (const cell of row) {
              const td = element("td");
              if (Array.isArray(cell)) td.append(element("span", cell[0], cell[1])); else td.textContent = cell ?? "";
              line.append(td);
            }
            body.append(line);
          }
          const thead = element("thead");
          thead.append(head);
          table.append(thead, body);
          const scroll = element("div", null, "scroll");
          scroll.append(table);
          place.replaceChildren(scroll);
        };
        const fail = (id, error) => byId(id).replaceChildren(element("p", error.message, "bad"));
        const labels = (set, without = []) => Object.entries(set).filter(([name]) => !without.includes(name))
          .map(([name, value]) => name + "=" + value).join(" ");

        async function alerts() {
          const { alerts } = await get("/api/v1/alerts");
          alerts.sort((a, b) => (a.state === b.state ? 0 : a.state === "firing" ? -1 : 1));
          show("alerts", ["state", "alert", "severity", "what", "since"], alerts.map(a => [
            [a.state, a.state === "firing" ? "bad" : "warn"], a.labels.alertname, a.labels.severity || "",
            a.annotations.summary || labels(a.labels, ["alertname", "severity"]), since(a.activeAt)]),
            "nothing fires, nothing is pending");
          return alerts.filter(a => a.state === "firing" && a.labels.severity !== "none").length;
        }
        async function targets() {
          const { activeTargets } = await get("/api/v1/targets?state=active");
          show("targets", ["health", "job", "address", "labels", "last scrape", "took", "error"], activeTargets.map(t => [
            [t.health, t.health === "up" ? "good" : t.health === "down" ? "bad" : "dim"], t.labels.job, t.scrapeUrl,
            labels(t.labels, ["job", "instance"]), since(t.lastScrape), (t.lastScrapeDuration * 1000).toFixed(1) + " ms",
            t.lastError]), "no targets");
          return activeTargets.filter(t => t.health === "down").length;
        }
        async function backups() {
          const { backups } = await get("/api/kops/v1/backups");
          show("backups", ["when", "where", "kind", "size", "revision", "keys", "verified", "file"], backups.map(b => [
            since(b.createdAt), b.destination, b.kind, bytes(b.sizeBytes), b.revision, b.keys,
            [b.verified ? "yes" : "no", b.verified ? "good" : "warn"], b.name]), "no backups yet");
        }
        async function jobs() {
          const { jobs } = await get("/api/kops/v1/jobs");
          show("jobs", ["job", "schedule", "last run", "result", "next", "message"], jobs.map(j => [
            j.name, j.schedule, j.lastRun ? since(j.lastRun) : "never",
            [j.lastResult || "", j.lastResult === "success" ? "good" : j.lastResult ? "bad" : "dim"],
            j.nextRun ? "in " + age(Date.parse(j.nextRun) / 1000 - Date.now() / 1000) : "", j.lastMessage || ""]), "no jobs");
        }
        async function certificates() {
          const { certificates } = await get("/api/kops/v1/certificates");
          show("certificates", ["expires in", "subject", "kind", "path"], certificates.map(c => [
            [age(Date.parse(c.notAfter) / 1000 - Date.now() / 1000),
              c.daysLeft < 14 ? "bad" : c.daysLeft < 28 ? "warn" : "good"], c.subject, c.kind, c.path]),
            "no certificates are watched");
        }
        async function rules() {
          const { groups } = await get("/api/v1/rules");
          show("rules", ["group", "rule", "state", "expression", "took"], groups.flatMap(g => g.rules.map(r => [
            g.name, r.name, [r.health === "err" ? r.lastError : r.state || r.health,
              r.health === "err" || r.state === "firing" ? "bad" : r.state === "pending" ? "warn" : "good"],
            r.query, (r.evaluationTime * 1000).toFixed(1) + " ms"])), "no rules");
        }
        async function refresh() {
          const work = { alerts, targets, backups, jobs, certificates, rules };
          const found = {};
          await Promise.all(Object.entries(work).map(async ([id, load]) => {
            try { found[id] = await load(); } catch (error) { fail(id, error); found[id] = null; }
          }));
          const summary = byId("summary");
          if (found.alerts === null || found.targets === null) {
            summary.textContent = "the sidecar does not answer";
            summary.className = "bad";
          } else {
            summary.textContent = found.alerts + " firing, " + found.targets + " targets down";
            summary.className = found.alerts || found.targets ? "bad" : "good";
          }
        }

        const svg = (tag, attributes, text) => {
          const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
          for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
          if (text !== undefined) node.textContent = text;
          return node;
        };
        function plot(series, start, end) {
          const width = 1000, height = 256, left = 60, bottom = 20;
          let low = Infinity, high = -Infinity;
          for (const s of series) for (const [, v] of s.values) {
            const n = Number(v);
            if (Number.isFinite(n)) { low = Math.min(low, n); high = Math.max(high, n); }
          }
          if (low > high) return element("p", "nothing to draw", "dim");
          if (low === high) { low -= 1; high += 1; }
          const x = t => left + (t - start) / (end - start) * (width - left);
          const y = v => (height - bottom) - (v - low) / (high - low) * (height - bottom - 8);
          const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "graph of the result" });
          for (let i = 0; i <= 4; i++) {
            const v = low + (high - low) * i / 4;
            chart.append(svg("line", { x1: left, x2: width, y1: y(v), y2: y(v) }),
              svg("text", { x: 0, y: y(v) + 4 }, Number(v.toPrecision(5))),
              svg("text", { x: Math.min(width - 50, x(start + (end - start) * i / 4)), y: height - 4 },
                new Date((start + (end - start) * i / 4) * 1000).toLocaleTimeString()));
          }
          series.slice(0, 50).forEach((s, i) => {
            let path = "", before = null;
            for (const [t, v] of s.values) {
              const n = Number(v);
              if (!Number.isFinite(n)) { before = null; continue; }
              path += (before !== null && t - before <= (end - start) / 60 ? "L" : "M") + x(t).toFixed(1) + " " + y(n).toFixed(1);
              before = t;
            }
            const line = svg("path", { d: path, stroke: `hsl(${i * 67 % 360} 60% 48%)` });
            line.append(svg("title", {}, labels(s.metric)));
            chart.append(line);
          });
          return chart;
        }
        byId("query").addEventListener("submit", async event => {
          event.preventDefault();
          const form = new FormData(event.target), range = Number(form.get("range")), end = Date.now() / 1000;
          const query = encodeURIComponent(form.get("expression"));
          byId("graph").replaceChildren();
          try {
            if (!range) {
              const { result, resultType } = await get("/api/v1/query?query=" + query);
              const rows = resultType === "vector" ? result.map(r => [labels(r.metric), r.value ? r.value[1] : "histogram"])
                : resultType === "matrix" ? result.map(r => [labels(r.metric), (r.values || []).map(v => v[1]).join(" ")])
                : [["", result[1]]];
              show("result", ["series", "value"], rows, "no series");
              return;
            }
            const step = Math.max(1, Math.round(range / 240));
            const { result } = await get(`/api/v1/query_range?query=${query}&start=${end - range}&end=${end}&step=${step}`);
            byId("graph").replaceChildren(plot(result.filter(r => r.values), end - range, end));
            show("result", ["series", "last value"], result.map(r => [labels(r.metric),
              r.values ? r.values[r.values.length - 1][1] : "histogram"]), "no series");
          } catch (error) { fail("result", error); }
        });

        get("/api/v1/status/runtimeinfo").then(info => { byId("cluster").textContent = info.clusterName || ""; }, () => {});
        refresh();
        setInterval(() => { if (!document.hidden) refresh(); }, 10000);

        """#
}

/// The routes of the page.
package func pageRoutes() -> [Route] {
    func file(_ type: String, _ text: String) -> Route.Handler {
        let bytes = Array(text.utf8)
        return { _ in
            var reply = APIReply(200, type, bytes)
            reply.headers.append(
                ("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"))
            reply.headers.append(("Cache-Control", "no-cache"))
            return reply
        }
    }
    return [
        .get("/", file("text/html; charset=utf-8", PageFiles.html)),
        .get("/assets/page.css", file("text/css; charset=utf-8", PageFiles.css)),
        .get("/assets/page.js", file("text/javascript; charset=utf-8", PageFiles.script)),
    ]
}
