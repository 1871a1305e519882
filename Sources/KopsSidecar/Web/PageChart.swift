extension PageFiles {
    /// Lines over time as SVG.
    static let chart = #"""
        "use strict";
        const svg = (tag, attributes, text) => {
          const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
          for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
          if (text !== undefined) node.textContent = text;
          return node;
        };
        const colour = i => `hsl(${(210 + i * 67) % 360} 60% 48%)`;
        // Round steps of 1, 2 or 5 times a power of ten.
        const ticks = (low, high, count) => {
          const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
          const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= raw);
          const out = [];
          for (let v = Math.ceil(low / step) * step; v <= high + step / 1e6; v += step) out.push(v);
          return out;
        };
        const clock = (time, span) => {
          const date = new Date(time * 1000);
          return span > 86400 ? date.toLocaleDateString(undefined, { month: "short", day: "numeric" })
            : date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
        };
        const short = v => {
          const size = Math.abs(v);
          for (const [unit, factor] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
            if (size >= factor) return Number((v / factor).toPrecision(4)) + unit;
          }
          return String(Number(v.toPrecision(4)));
        };

        // `series`: as query_range answers. A gap of more than a few steps breaks the line.
        function plot(series, start, end, options = {}) {
          const width = options.width || 1000, height = options.height || 256, left = 56, bottom = 20, top = 6;
          const format = options.format || short;
          let low = options.low ?? Infinity, high = options.high ?? -Infinity;
          for (const s of series) for (const [, v] of s.values) {
            const n = Number(v);
            if (Number.isFinite(n)) { low = Math.min(low, n); high = Math.max(high, n); }
          }
          if (low > high) return element("p", "nothing to draw", "dim");
          if (low === high) { const by = Math.abs(low) * 0.1 || 1; low -= low === 0 ? 0 : by; high += by; }
          const x = t => left + (t - start) / (end - start) * (width - left);
          const y = v => (height - bottom) - (v - low) / (high - low) * (height - bottom - top);
          const chart = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
            "aria-label": options.title || "graph of the result" });
          for (const v of ticks(low, high, 4)) {
            chart.append(svg("line", { x1: left, x2: width, y1: y(v), y2: y(v) }), svg("text", { x: 0, y: y(v) + 4 }, format(v)));
          }
          for (let i = 0; i <= 4; i++) {
            const t = start + (end - start) * i / 4;
            chart.append(svg("text", { x: Math.min(width - 40, x(t)), y: height - 4 }, clock(t, end - start)));
          }
          series.slice(0, 50).forEach((s, i) => {
            let path = "", before = null;
            for (const [t, v] of s.values) {
              const n = Number(v);
              if (!Number.isFinite(n)) { before = null; continue; }
              path += (before !== null && t - before <= (end - start) / 40 ? "L" : "M") + x(t).toFixed(1) + " " + y(n).toFixed(1);
              before = t;
            }
            const line = svg("path", { d: path, stroke: colour(i) });
            line.append(svg("title", {}, labels(s.metric)));
            chart.append(line);
          });
          return chart;
        }
        function legend(series, name = s => labels(s.metric)) {
          const list = element("div", null, "legend");
          series.slice(0, 12).forEach((s, i) => {
            const entry = element("span"), mark = element("i");
            mark.style.background = colour(i);
            entry.append(mark, name(s) || "value");
            list.append(entry);
          });
          if (series.length > 12) list.append(element("span", "and " + (series.length - 12) + " more"));
          return list;
        }
        const range = async (query, span) => {
          const end = now(), step = Math.max(1, Math.round(span / 240));
          const { result } = await get("/api/v1/query_range?query=" + encodeURIComponent(query) +
            `&start=${end - span}&end=${end}&step=${step}`);
          return { series: result.filter(r => r.values), start: end - span, end };
        };

        """#
}
