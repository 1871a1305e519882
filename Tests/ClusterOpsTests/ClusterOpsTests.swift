// Tests of ClusterOps.
