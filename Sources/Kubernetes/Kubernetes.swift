// Kubernetes: see docs/architecture.md.
