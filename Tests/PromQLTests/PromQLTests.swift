// Tests of PromQL.
