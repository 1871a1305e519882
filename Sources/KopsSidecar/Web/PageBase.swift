extension PageFiles {
    /// Asking the API, writing values for people, making tables.
    static let base = #"""
        "use strict";
        const byId = id => document.getElementById(id);
        const element = (tag, text, className) => {
          const node = document.createElement(tag);
          if (text !== undefined && text !== null) node.textContent = String(text);
          if (className) node.className = className;
          return node;
        };

        // A token is asked for once, where only tokens are configured; it stays in this tab.
        const authorization = () => {
          const token = sessionStorage.getItem("token");
          return token ? { Authorization: "Bearer " + token } : {};
        };
        class APIFailure extends Error {
          constructor(message, status) { super(message); this.status = status; }
        }
        const call = async (path, options = {}) => {
          const reply = await fetch(path, { ...options, headers: { ...options.headers, ...authorization() } });
          const text = await reply.text();
          let body = null;
          try { body = text ? JSON.parse(text) : null; } catch { /* told below */ }
          if (!reply.ok) {
            throw new APIFailure((body && (body.error || body.message || (typeof body === "string" ? body : ""))) ||
              text.slice(0, 200) || reply.statusText, reply.status);
          }
          return body && body.data !== undefined ? body.data : body;
        };
        const get = path => call(path);
        const post = (path, body) => call(path, {
          method: "POST", headers: { "Content-Type": "application/json" }, body: body ? JSON.stringify(body) : undefined });

        const age = seconds => {
          const s = Math.max(0, Math.round(seconds));
          if (s < 90) return s + " s";
          if (s < 5400) return Math.round(s / 60) + " min";
          if (s < 172800) return Math.round(s / 3600) + " h";
          return Math.round(s / 86400) + " d";
        };
        const seconds = time => typeof time === "number" ? time : Date.parse(time) / 1000;
        const now = () => Date.now() / 1000;
        const since = time => !seconds(time) || seconds(time) < 0 ? "never" : age(now() - seconds(time)) + " ago";
        const ahead = time => time ? "in " + age(seconds(time) - now()) : "";
        const bytes = n => {
          const units = ["B", "KiB", "MiB", "GiB", "TiB"];
          let i = 0;
          while (Math.abs(n) >= 1024 && i < units.length - 1) { n /= 1024; i++; }
          return (i ? n.toFixed(1) : Math.round(n)) + " " + units[i];
        };
        const labels = (set, without = []) => Object.entries(set).filter(([name]) => !without.includes(name))
          .map(([name, value]) => name + "=" + value).join(" ");

        // A cell is a text, [text, class], or a node.
        const table = (columns, rows) => {
          const table = element("table"), head = element("tr"), body = element("tbody");
          for (const column of columns) head.append(element("th", column));
          for (const row of rows) {
            const line = element("tr");
            for (const cell of row) {
              const td = element("td");
              if (cell instanceof Node) td.append(cell);
              else if (Array.isArray(cell)) td.append(element("span", cell[0], cell[1]));
              else td.textContent = cell ?? "";
              if (td.textContent.length < 18) td.className = "tight";
              line.append(td);
            }
            body.append(line);
          }
          const thead = element("thead");
          thead.append(head);
          table.append(thead, body);
          const scroll = element("div", null, "scroll");
          scroll.append(table);
          return scroll;
        };
        const show = (id, columns, rows, empty) =>
          byId(id).replaceChildren(rows.length ? table(columns, rows) : element("p", empty, "dim"));
        const fail = (id, error) => byId(id).replaceChildren(element("p", error.message, "bad"));

        """#
}
