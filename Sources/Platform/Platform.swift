// Everything that blocks or owns a handle of the operating system or of a C library: the HTTP client (one libcurl thread
// each), worker threads, files, hashes, compression, clocks and the sidecar's own metrics. Nothing here knows what it is
// used for. Types are thread-safe unless their comment says otherwise.
