// OpenSSL's libcrypto for Swift: hashes now; ciphers and certificates are added here as they are needed.
#ifndef KOPS_COPENSSL_H
#define KOPS_COPENSSL_H
#include <openssl/evp.h>
#include <stddef.h>

typedef struct kops_digest kops_digest;
// algorithm: "SHA256", "SHA1", "MD5". Null when it is not known.
kops_digest *kops_digest_new(const char *algorithm);
int kops_digest_update(kops_digest *digest, const void *bytes, size_t count);
// Writes up to 64 bytes, returns how many, or -1. The digest may not be updated afterwards.
int kops_digest_final(kops_digest *digest, unsigned char *out);
kops_digest *kops_digest_copy(const kops_digest *digest);
void kops_digest_delete(kops_digest *digest);

typedef struct {
    long long not_before;   // seconds since 1970 UTC
    long long not_after;
    int is_ca;
    char subject[512];      // RFC 2253
    char serial[128];       // hexadecimal digits
} kops_certificate;
// Reads the certificate number `index` (from 0) of a PEM text. 1: read; 0: there is none of that number; -1: damaged.
int kops_certificate_read(const void *pem, size_t count, size_t index, kops_certificate *out);
#endif
