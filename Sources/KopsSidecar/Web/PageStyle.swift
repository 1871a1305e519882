extension PageFiles {
    static let style = """
        :root { --ink: #1d2733; --dim: #5c6b7a; --line: #d6dde4; --ground: #ffffff; --raised: #f6f8fa; --good: #1a7f37;
          --bad: #c62828; --warn: #9a6700; --link: #0b62c4; color-scheme: light dark; }
        @media (prefers-color-scheme: dark) { :root { --ink: #e3e9ef; --dim: #9aa8b5; --line: #34404c; --ground: #14191f;
          --raised: #1c232b; --good: #57ab5a; --bad: #f47067; --warn: #d4a72c; --link: #6cb0ff; } }
        * { box-sizing: border-box; }
        body { margin: 0 auto; max-width: 84rem; padding: 1rem; background: var(--ground); color: var(--ink);
          font: 15px/1.45 system-ui, sans-serif; }
        header { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; align-items: baseline; border-bottom: 1px solid var(--line); }
        h1 { font-size: 1.4rem; margin: 0; } h1 small { color: var(--dim); font-weight: normal; }
        h2 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
        #summary { margin: 0; font-weight: 600; }
        nav { flex-basis: 100%; display: flex; flex-wrap: wrap; gap: .2rem; margin-top: .6rem; }
        nav a { padding: .35rem .8rem; color: var(--dim); text-decoration: none; border-bottom: 2px solid transparent; }
        nav a:hover { color: var(--ink); } nav a.here { color: var(--ink); border-color: var(--link); font-weight: 600; }
        section { display: none; } section.here { display: block; }
        .cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(12.5rem, 1fr)); gap: .8rem; margin-top: 1rem; }
        .card { display: block; padding: .8rem 1rem; background: var(--raised); border: 1px solid var(--line);
          border-radius: .5rem; color: inherit; text-decoration: none; }
        .card:hover { border-color: var(--link); }
        .card b { display: block; font-size: 1.5rem; line-height: 1.3; } .card span { color: var(--dim); font-size: .85rem; }
        .card small { display: block; color: var(--dim); min-height: 1.2em; }
        .charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: 1rem; margin-top: 1rem; }
        .chart { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
        .chart h3 { margin: 0 0 .3rem; font-size: .95rem; }
        .scroll { overflow-x: auto; }
        table { border-collapse: collapse; width: 100%; }
        th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
        th { color: var(--dim); font-weight: 600; white-space: nowrap; }
        td { overflow-wrap: anywhere; } td.tight { white-space: nowrap; }
        .good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); } .dim { color: var(--dim); }
        code { font: 13px/1.4 ui-monospace, monospace; }
        form { display: flex; gap: .5rem; flex-wrap: wrap; margin-top: .6rem; }
        input { flex: 1 1 16rem; font: 14px ui-monospace, monospace; } input.short { flex: 0 1 10rem; }
        input, select, button { padding: .4rem .6rem; border: 1px solid var(--line); border-radius: .3rem;
          background: var(--ground); color: inherit; }
        button { cursor: pointer; background: var(--raised); } button:hover { border-color: var(--link); }
        svg { display: block; width: 100%; height: auto; } svg text { fill: var(--dim); font-size: 11px; }
        svg line { stroke: var(--line); } svg path { fill: none; stroke-width: 1.5; }
        .legend { display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: .8rem; color: var(--dim); margin-top: .3rem; }
        .legend i { display: inline-block; width: .7rem; height: .25rem; margin-right: .35rem; vertical-align: middle; }
        @media (max-width: 40rem) { .charts { grid-template-columns: 1fr; } }

        """
}
