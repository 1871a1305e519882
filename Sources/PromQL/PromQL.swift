// PromQL: see docs/architecture.md.
