// TSDB: see docs/architecture.md.
