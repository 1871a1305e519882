// CRC-32C (Castagnoli polynomial, reflected 0x82F63B78), as iSCSI, etcd's WAL and its snapshot status use it.
#ifndef KOPS_CRC32C_H
#define KOPS_CRC32C_H
#include <stddef.h>
#include <stdint.h>
// The sum of what `sum` is the sum of, followed by the bytes; start with 0.
uint32_t kops_crc32c(uint32_t sum, const void *bytes, size_t count);
// The sum of A followed by B, from the sums of both and the length of B.
uint32_t kops_crc32c_combine(uint32_t a, uint32_t b, uint64_t count_b);
#endif
