// Etcd: see docs/architecture.md.
