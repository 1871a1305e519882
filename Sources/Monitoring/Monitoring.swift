// Monitoring: see docs/architecture.md.
