extension PageFiles {
    static let html = """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>kops-sidecar</title>
        <link rel="stylesheet" href="/assets/page.css">
        <link rel="icon" href="data:,">
        <script src="/assets/base.js" defer></script>
        <script src="/assets/chart.js" defer></script>
        <script src="/assets/views.js" defer></script>
        <script src="/assets/actions.js" defer></script>
        </head>
        <body>
        <header>
          <h1>kops-sidecar <small id="cluster"></small></h1>
          <p id="summary" role="status">loading …</p>
          <nav aria-label="views">
            <a href="#overview">Overview</a><a href="#alerts">Alerts</a><a href="#targets">Targets</a>
            <a href="#query">Query</a><a href="#backups">Backups</a><a href="#cluster-work">Cluster</a>
            <a href="#rules">Rules</a>
          </nav>
        </header>
        <main>
          <section id="overview">
            <div id="cards" class="cards"></div>
            <h2>Firing</h2><div id="firing"></div>
            <div class="charts" id="charts"></div>
          </section>
          <section id="alerts">
            <h2>Alerts</h2><div id="alert-list"></div>
            <h2>Silences</h2><div id="silence-list"></div>
            <form id="silence">
              <input name="matchers" aria-label="matchers" placeholder='alertname="TargetDown" job=~"node.*"' required
                autocomplete="off" spellcheck="false">
              <select name="hours" aria-label="for how long">
                <option value="1">1 hour</option><option value="2" selected>2 hours</option><option value="8">8 hours</option>
                <option value="24">1 day</option><option value="168">7 days</option>
              </select>
              <input name="author" aria-label="your name" placeholder="your name" required class="short">
              <input name="comment" aria-label="why" placeholder="why" required>
              <button>Silence</button>
            </form>
            <p id="silence-answer" role="status"></p>
          </section>
          <section id="targets"><h2>Targets</h2><div id="target-list"></div></section>
          <section id="query">
            <h2>Query</h2>
            <form id="ask">
              <input name="expression" aria-label="PromQL expression" placeholder="up" autocomplete="off"
                spellcheck="false" list="metric-names">
              <datalist id="metric-names"></datalist>
              <select name="range" aria-label="time range">
                <option value="0">now</option><option value="3600" selected>1 hour</option>
                <option value="21600">6 hours</option><option value="86400">1 day</option>
                <option value="604800">7 days</option><option value="2592000">30 days</option>
              </select>
              <button>Run</button>
            </form>
            <div id="graph"></div><div id="result"></div>
          </section>
          <section id="backups">
            <h2>Backups</h2><div id="backup-list"></div>
            <h2>Jobs</h2><div id="job-list"></div><p id="job-answer" role="status"></p>
            <h2>Last runs</h2><div id="run-list"></div>
          </section>
          <section id="cluster-work">
            <h2>Nodes</h2><div id="node-list"></div>
            <h2>Upgrade</h2><div id="upgrade-state"></div>
            <h2>Certificates</h2><div id="certificate-list"></div>
            <h2>Events</h2><div id="event-list"></div>
          </section>
          <section id="rules"><h2>Rules</h2><div id="rule-list"></div></section>
        </main>
        </body>
        </html>

        """
}
