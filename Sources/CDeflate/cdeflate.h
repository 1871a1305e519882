// libdeflate: gzip of whole blocks in memory, at twice zlib's speed. Linked statically (Package.swift): a machine that only
// restores need not have it.
#include <libdeflate.h>
