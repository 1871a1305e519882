// Tests of KopsSidecar.
