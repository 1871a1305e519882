// OpenSSL's libcrypto for Swift: hashes, certificates, and the ciphers that backups are sealed with.
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
    char issuer[512];       // RFC 2253
    char names[2048];       // subject alternative names as `DNS:a, IP Address:1.2.3.4`; empty where there are none
    char sha256[65];        // of the DER form, hexadecimal digits
} kops_certificate;
// Reads the certificate number `index` (from 0) of a PEM text. 1: read; 0: there is none of that number; -1: damaged.
int kops_certificate_read(const void *pem, size_t count, size_t index, kops_certificate *out);

// Whether a private key is that of a certificate or of a public key, all as PEM texts. 1: it is; 0: it is another's; -1: one
// of them cannot be read (an encrypted key among others).
int kops_key_fits(const void *public_pem, size_t public_count, const void *key_pem, size_t key_count);

// All below return 1 for success and 0 for failure.
int kops_random(unsigned char *out, size_t count);

// AES-256-GCM with nonces of 12 bytes, one key; for one thread at a time. Null where OpenSSL refuses it.
typedef struct kops_aead kops_aead;
kops_aead *kops_aead_new(int sealing, const unsigned char key[32]);
int kops_aead_seal(kops_aead *aead, const unsigned char nonce[12], const void *in, size_t count, void *out,
                   void *tag);
// What is in `out` after a failure is not to be used.
int kops_aead_open(kops_aead *aead, const unsigned char nonce[12], const void *in, size_t count, void *out,
                   const void *tag);
void kops_aead_delete(kops_aead *aead);

// Poly1305 of many inputs under one key; the tag has 16 bytes.
typedef struct kops_mac_context kops_mac_context;
kops_mac_context *kops_mac_new(const unsigned char key[32]);
int kops_mac(kops_mac_context *mac, const void *in, size_t count, void *tag);
void kops_mac_delete(kops_mac_context *mac);

// RFC 7748: the public key of a private one, and the secret both sides share.
int kops_x25519_public(const unsigned char key[32], unsigned char out[32]);
int kops_x25519_shared(const unsigned char key[32], const unsigned char peer[32], unsigned char out[32]);
// RFC 5869.
int kops_hkdf_sha256(const unsigned char *secret, size_t secret_count, const unsigned char *salt, size_t salt_count,
                     const unsigned char *info, size_t info_count, unsigned char *out, size_t count);

// Whether the first certificate of a PEM text was made for the private key of another: 1 yes, 0 no, -1 unreadable.
int kops_certificate_matches_key(const void *pem, size_t count, const void *key, size_t key_count);
// Whether `pem`'s first certificate is signed by the first of `ca`: 1 yes, 0 no, -1 unreadable.
int kops_certificate_signed_by(const void *pem, size_t count, const void *ca, size_t ca_count);

// Begins a TLS handshake on the connected, blocking socket and reads the certificate that the peer shows, whoever issued
// it. `cert` and `key` (PEM, may be null) are shown where the peer asks. The socket's own time limits apply. 1: read;
// 0: the peer ended the connection or speaks no TLS; -1: out of memory, or `cert` and `key` are unusable.
int kops_tls_served(int socket, const char *server_name, const void *cert, size_t cert_count, const void *key,
                    size_t key_count, kops_certificate *out);
#endif
