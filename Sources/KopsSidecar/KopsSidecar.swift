// KopsSidecar: see docs/architecture.md.
