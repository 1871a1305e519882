// etcd as the sidecar needs it: a gRPC client over libcurl's HTTP/2 (Client/, Wire/), the snapshot file and the bbolt
// database in it (Bolt/), and making the data directory of a restored member without etcd's own tools (DataDirectory/).
// The formats are etcd's: api/etcdserverpb/rpc.proto, raft's raftpb, server/storage/wal and go.etcd.io/bbolt.
// Clients are thread-safe; readers and writers of files belong to one thread at a time.
