// Tests of TSDB.
