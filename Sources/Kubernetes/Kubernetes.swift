// The client for the Kubernetes API: where a cluster is and who one is there (Access), requests and errors (Client), the
// objects that this program reads (Objects), list and watch (Watch). docs/kubernetes-client.md says how to use it.
// All types are values or thread-safe; nothing here keeps state on disk.
