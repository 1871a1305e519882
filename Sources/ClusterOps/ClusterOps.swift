// ClusterOps: see docs/architecture.md.
