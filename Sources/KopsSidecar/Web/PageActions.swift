extension PageFiles {
    /// Moving between views, asking a query, and what changes something.
    static let actions = #"""
        "use strict";
        function button(text, action) {
          const node = element("button", text);
          node.type = "button";
          node.addEventListener("click", action);
          return node;
        }

        // Whatever changes something; where a token is needed it is asked for.
        async function change(answer, work, done) {
          const place = byId(answer);
          try {
            try {
              await work();
            } catch (error) {
              if (error.status !== 401) throw error;
              const token = prompt("This sidecar wants a token (http.token_files):");
              if (!token) throw error;
              sessionStorage.setItem("token", token.trim());
              await work();
            }
            place.textContent = done;
            place.className = "good";
            refresh();
          } catch (error) {
            place.textContent = error.message;
            place.className = "bad";
          }
        }

        const runJob = name => change("job-answer", () => post("/api/kops/v1/jobs/" + encodeURIComponent(name) + "/run"),
          name + " was started");
        const expire = id => change("silence-answer", () => call("/api/v2/silence/" + encodeURIComponent(id), { method: "DELETE" }),
          "the silence has ended");
        function fillSilence(alert) {
          byId("silence").elements.matchers.value = Object.entries(alert.labels).filter(([name]) => name !== "severity")
            .map(([name, value]) => name + "=" + JSON.stringify(value)).join(" ");
          byId("silence").elements.author.focus();
        }
        // name="value" name!="value" name=~"pattern" name!~"pattern", apart by spaces or commas.
        function parseMatchers(text) {
          const pattern = /([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^\s,"]+)[\s,]*/y, found = [];
          let rest = text.trim();
          pattern.lastIndex = 0;
          while (pattern.lastIndex < rest.length) {
            const at = pattern.lastIndex, match = pattern.exec(rest);
            if (!match) throw new Error("not understood: " + rest.slice(at) + ' (write it as name="value")');
            const [, name, operator, raw] = match;
            found.push({ name, value: raw.startsWith('"') ? JSON.parse(raw) : raw, isRegex: operator.endsWith("~"),
              isEqual: !operator.startsWith("!") });
          }
          return found;
        }
        byId("silence").addEventListener("submit", event => {
          event.preventDefault();
          const form = new FormData(event.target);
          change("silence-answer", () => {
            const start = new Date(), end = new Date(start.getTime() + Number(form.get("hours")) * 3600e3);
            return post("/api/v2/silences", { matchers: parseMatchers(form.get("matchers")), startsAt: start.toISOString(),
              endsAt: end.toISOString(), createdBy: form.get("author"), comment: form.get("comment") });
          }, "silenced");
        });

        async function ask() {
          const form = byId("ask").elements, expression = form.expression.value.trim(), span = Number(form.range.value);
          byId("graph").replaceChildren();
          if (!expression) { byId("result").replaceChildren(); return; }
          try {
            if (!span) {
              const { result, resultType } = await get("/api/v1/query?query=" + encodeURIComponent(expression));
              const rows = resultType === "vector" ? result.map(r => [labels(r.metric), r.value ? r.value[1] : "histogram"])
                : resultType === "matrix" ? result.map(r => [labels(r.metric), (r.values || []).map(v => v[1]).join(" ")])
                : [["", result[1]]];
              show("result", ["series", "value"], rows.slice(0, 1000), "no series");
              return;
            }
            const { series, start, end } = await range(expression, span);
            byId("graph").replaceChildren(plot(series, start, end));
            show("result", ["series", "last value"], series.slice(0, 1000).map(r => [labels(r.metric),
              r.values[r.values.length - 1][1]]), "no series");
          } catch (error) { fail("result", error); }
        }
        byId("ask").addEventListener("submit", event => {
          event.preventDefault();
          const form = event.target.elements;
          // The address holds the query, so that it can be sent to somebody.
          const hash = "#query?expr=" + encodeURIComponent(form.expression.value) + "&range=" + form.range.value;
          if (location.hash === hash) ask(); else location.hash = hash;
        });
        let namesAskedFor = false;
        async function query(parameters) {
          const form = byId("ask").elements;
          if (parameters.has("expr")) {
            form.expression.value = parameters.get("expr");
            if (parameters.has("range")) form.range.value = parameters.get("range");
            await ask();
          }
          if (namesAskedFor) return;
          namesAskedFor = true;
          const names = await get("/api/v1/label/__name__/values?limit=5000");
          byId("metric-names").replaceChildren(...names.map(name => { const o = element("option"); o.value = name; return o; }));
        }

        const loaders = { overview, alerts, targets, query, backups, "cluster-work": clusterWork, rules };
        function place() {
          const [id, parameters] = location.hash.slice(1).split("?");
          return [loaders[id] ? id : "overview", new URLSearchParams(parameters || "")];
        }
        async function refresh() {
          const [id, parameters] = place();
          for (const section of document.querySelectorAll("main > section")) section.classList.toggle("here", section.id === id);
          for (const link of document.querySelectorAll("nav a")) {
            link.classList.toggle("here", link.hash === "#" + id);
            if (link.hash === "#" + id) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
          }
          try {
            if (id !== "overview") await Promise.all([loaders[id](parameters), summarise()]); else await overview();
          } catch (error) {
            byId("summary").textContent = error.status ? error.message : "the sidecar does not answer";
            byId("summary").className = "bad";
          }
        }
        async function summarise() {
          const { alerts } = await get("/api/v1/alerts"), firing = alerts.filter(matters).length;
          byId("summary").textContent = firing ? firing + " firing" : "all is well";
          byId("summary").className = firing ? "bad" : "good";
        }
        addEventListener("hashchange", refresh);
        get("/api/v1/status/runtimeinfo").then(info => { byId("cluster").textContent = info.clusterName || ""; }, () => {});
        refresh();
        // A query stays as it was asked; everything else keeps itself fresh while it is looked at.
        setInterval(() => { if (!document.hidden && place()[0] !== "query") refresh(); }, 10000);

        """#
}
