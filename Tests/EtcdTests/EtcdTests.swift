// Tests of Etcd.
