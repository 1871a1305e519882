// Tests of Monitoring.
