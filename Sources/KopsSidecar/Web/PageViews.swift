extension PageFiles {
    /// What each view shows; a view's data is asked for while it is the one that is looked at.
    static let views = #"""
        "use strict";
        const severity = name => ({ critical: "bad", page: "bad", warning: "warn" })[name] || "dim";
        const alertRows = alerts => alerts.map(a => [
          [a.state, a.state === "firing" ? "bad" : "warn"], a.labels.alertname,
          [a.labels.severity || "", severity(a.labels.severity)],
          a.annotations.summary || a.annotations.description || labels(a.labels, ["alertname", "severity"]), since(a.activeAt)]);
        const certificateClass = c => c.daysLeft < 14 ? "bad" : c.daysLeft < 28 ? "warn" : "good";
        // Watchdog and its like fire by design.
        const matters = a => a.state === "firing" && a.labels.severity !== "none";

        const card = (title, value, note, className, target) => {
          const box = element("a", null, "card");
          box.href = "#" + target;
          box.append(element("span", title), element("b", value, className), element("small", note || ""));
          return box;
        };

        async function overview() {
          const optional = promise => promise.catch(error => error);
          const [alerts, targets, backups, jobs, certificates, upgrade] = await Promise.all([
            get("/api/v1/alerts"), get("/api/v1/targets?state=active"), optional(get("/api/kops/v1/backups")),
            optional(get("/api/kops/v1/jobs")), optional(get("/api/kops/v1/certificates")),
            optional(get("/api/kops/v1/upgrade"))]);
          const firing = alerts.alerts.filter(matters), down = targets.activeTargets.filter(t => t.health === "down");
          const cards = [
            card("alerts firing", firing.length, alerts.alerts.filter(a => a.state === "pending").length + " pending",
              firing.length ? "bad" : "good", "alerts"),
            card("targets up", (targets.activeTargets.length - down.length) + " of " + targets.activeTargets.length,
              down.length ? down[0].labels.job + " is down" : "", down.length ? "bad" : "good", "targets"),
          ];
          if (backups.backups) {
            const newest = backups.backups[0];
            cards.push(card("last backup", newest ? since(newest.createdAt) : "none",
              newest ? bytes(newest.sizeBytes) + (newest.verified ? ", verified" : ", not verified") : "",
              !newest ? "warn" : newest.verified ? "good" : "warn", "backups"));
          }
          if (jobs.jobs && jobs.jobs.length) {
            const bad = jobs.jobs.filter(j => j.lastResult && j.lastResult !== "success" && j.lastResult !== "running");
            cards.push(card("jobs", bad.length ? bad.length + " failed" : "well", bad.length ? bad[0].name :
              jobs.jobs.map(j => j.name).join(", "), bad.length ? "bad" : "good", "backups"));
          }
          if (certificates.certificates && certificates.certificates.length) {
            const first = [...certificates.certificates].sort((a, b) => a.daysLeft - b.daysLeft)[0];
            cards.push(card("first certificate to expire", first.daysLeft < 0 ? "expired" : "in " + first.daysLeft + " d",
              first.subject, certificateClass(first), "cluster-work"));
          }
          if (upgrade.state && upgrade.state !== "none" && upgrade.state !== "idle") {
            cards.push(card("upgrade", upgrade.state, upgrade.message || upgrade.target || "", "warn", "cluster-work"));
          }
          byId("cards").replaceChildren(...cards);
          show("firing", ["state", "alert", "severity", "what", "since"], alertRows(firing), "nothing fires");
          const summary = byId("summary");
          summary.textContent = firing.length || down.length ? firing.length + " firing, " + down.length + " targets down" : "all is well";
          summary.className = firing.length || down.length ? "bad" : "good";
          await drawCharts();
        }

        // Charts whose metrics are there; asked for at most every half minute.
        const charts = [
          ["CPU in use", '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))', { low: 0, high: 1, format: v => Math.round(v * 100) + " %" }],
          ["Memory in use", "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", { low: 0, high: 1, format: v => Math.round(v * 100) + " %" }],
          ["Filesystem in use", '1 - node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs|ramfs"} / node_filesystem_size_bytes', { low: 0, high: 1, format: v => Math.round(v * 100) + " %" }],
          ["etcd database", "etcd_mvcc_db_total_size_in_bytes", { low: 0, format: bytes }],
          ["etcd fsync, 99th percentile", "histogram_quantile(0.99, sum by (instance, le) (rate(etcd_disk_wal_fsync_duration_seconds_bucket[5m])))", { low: 0, format: v => short(v * 1000) + " ms" }],
          ["API server requests a second", "sum by (code) (rate(apiserver_request_total[5m]))", { low: 0 }],
          ["Samples stored a second", "sum(rate(prometheus_tsdb_head_samples_appended_total[5m]))", { low: 0 }],
        ];
        let chartsDrawnAt = 0;
        async function drawCharts() {
          if (now() - chartsDrawnAt < 30) return;
          chartsDrawnAt = now();
          const drawn = await Promise.all(charts.map(async ([title, query, options]) => {
            try {
              const { series, start, end } = await range(query, 3600);
              if (!series.some(s => s.values.some(([, v]) => Number.isFinite(Number(v))))) return null;
              const box = element("div", null, "chart");
              box.append(element("h3", title), plot(series, start, end, { ...options, title, width: 480, height: 170 }),
                legend(series, s => labels(s.metric, ["__name__", "job", "fstype"])));
              return box;
            } catch { return null; }
          }));
          byId("charts").replaceChildren(...drawn.filter(Boolean));
        }

        async function alerts() {
          const [{ alerts }, silences] = await Promise.all([get("/api/v1/alerts"), get("/api/v2/silences")]);
          alerts.sort((a, b) => (a.state === b.state ? 0 : a.state === "firing" ? -1 : 1));
          const rows = alertRows(alerts);
          rows.forEach((row, i) => row.push(button("silence …", () => fillSilence(alerts[i]))));
          show("alert-list", ["state", "alert", "severity", "what", "since", ""], rows, "nothing fires, nothing is pending");
          show("silence-list", ["state", "alerts with", "until", "by", "why", ""],
            silences.filter(s => s.status.state !== "expired").map(s => [
              s.status.state, s.matchers.map(m => m.name + (m.isEqual === false ? "!" : "=") + (m.isRegex ? "~" : m.isEqual === false ? "=" : "") +
                JSON.stringify(m.value)).join(" "), ahead(s.endsAt), s.createdBy, s.comment,
              button("expire", () => expire(s.id))]), "no silences");
        }

        async function targets() {
          const { activeTargets } = await get("/api/v1/targets?state=active");
          activeTargets.sort((a, b) => (a.health === "down" ? 0 : 1) - (b.health === "down" ? 0 : 1));
          show("target-list", ["health", "job", "address", "labels", "last scrape", "took", "error"], activeTargets.map(t => [
            [t.health, t.health === "up" ? "good" : t.health === "down" ? "bad" : "dim"], t.labels.job, t.scrapeUrl,
            labels(t.labels, ["job", "instance"]), since(t.lastScrape), (t.lastScrapeDuration * 1000).toFixed(1) + " ms",
            [t.lastError, "bad"]]), "no targets");
        }

        async function backups() {
          const [{ backups }, { jobs }, { runs }] = await Promise.all([
            get("/api/kops/v1/backups"), get("/api/kops/v1/jobs"), get("/api/kops/v1/jobs/history?limit=20")]);
          show("backup-list", ["when", "where", "kind", "size", "revision", "keys", "verified", "name"], backups.slice(0, 50).map(b => [
            since(b.createdAt), b.destination, b.kind, bytes(b.sizeBytes), b.revision, b.keys,
            [b.problem || (b.verified ? "yes" : "no"), b.verified ? "good" : b.problem ? "bad" : "warn"], b.name]), "no backups yet");
          show("job-list", ["job", "schedule", "last run", "result", "next", "message", ""], jobs.map(j => [
            j.name, j.schedule, j.lastRun ? since(j.lastRun) : "never",
            [j.running ? "running" : j.lastResult || "", j.lastResult === "success" ? "good" : j.lastResult ? "bad" : "dim"],
            ahead(j.nextRun), j.lastMessage || "", button("run now", () => runJob(j.name))]), "no jobs");
          show("run-list", ["job", "when", "took", "result", "message"], runs.map(r => [
            r.job, since(r.startedAt), r.endedAt ? age(seconds(r.endedAt) - seconds(r.startedAt)) : "",
            [r.result, r.result === "success" ? "good" : r.result === "running" ? "dim" : "bad"], r.message]), "nothing has run yet");
        }

        // Parts that this sidecar may not have answer 404.
        const absent = (id, text) => error => error.status === 404
          ? byId(id).replaceChildren(element("p", text, "dim")) : fail(id, error);
        const eventRow = e => [since(e.last), [e.type, e.type === "Warning" ? "warn" : "dim"], e.reason,
          (e.namespace ? e.namespace + "/" : "") + e.kind.toLowerCase() + "/" + e.name, e.count, e.message];
        async function clusterWork() {
          await Promise.all([
            get("/api/kops/v1/events?limit=100").then(({ events, kept }) => show("event-list",
              ["last", "type", "reason", "object", "count", "message"], events.map(eventRow),
              kept ? "none yet" : "events are not kept")).catch(absent("event-list", "events are not kept")),
            get("/api/kops/v1/certificates").then(({ certificates }) => show("certificate-list",
              ["expires in", "subject", "kind", "path"], [...certificates].sort((a, b) => a.daysLeft - b.daysLeft).map(c => [
                [c.daysLeft < 0 ? "expired" : c.daysLeft + " d", certificateClass(c)], c.subject, c.kind, c.path]),
              "no certificates of kubeadm's on this machine")).catch(absent("certificate-list", "no certificates are watched")),
            get("/api/kops/v1/nodes").then(({ nodes, collected }) => show("node-list", ["node", "ready", "version", "roles", "address"],
              nodes.map(n => [n.name, [n.ready ? "yes" : "no", n.ready ? "good" : "bad"], n.version, (n.roles || []).join(", "),
                n.address || ""]), collected ? "no nodes are known" : "cluster objects are not collected"))
              .catch(error => fail("node-list", error)),
            get("/api/kops/v1/upgrade").then(state => {
              if (!state || !state.state || state.state === "none" || state.state === "idle") {
                byId("upgrade-state").replaceChildren(element("p", "no upgrade is under way", "dim"));
                return;
              }
              const parts = [element("p", [state.state, state.target, state.message].filter(Boolean).join(" · "))];
              if (state.nodes && state.nodes.length) {
                parts.push(table(["node", "state", "version", "message"], state.nodes.map(n => [n.name, n.state, n.version || "", n.message || ""])));
              }
              byId("upgrade-state").replaceChildren(...parts);
            }).catch(absent("upgrade-state", "no upgrades are configured")),
          ]);
        }

        async function rules() {
          const { groups } = await get("/api/v1/rules");
          show("rule-list", ["group", "rule", "state", "expression", "took"], groups.flatMap(g => g.rules.map(r => {
            const link = element("a", null);
            link.href = "#query?expr=" + encodeURIComponent(r.query);
            link.append(element("code", r.query));
            return [g.name, r.name, [r.health === "err" ? r.lastError : r.state || r.health,
              r.health === "err" || r.state === "firing" ? "bad" : r.state === "pending" ? "warn" : "good"],
              link, (r.evaluationTime * 1000).toFixed(1) + " ms"];
          })), "no rules");
        }

        """#
}
