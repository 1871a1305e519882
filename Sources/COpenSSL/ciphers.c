#include "copenssl.h"
#include <limits.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/core_names.h>
#include <openssl/rand.h>

int kops_random(unsigned char *out, size_t count) {
    return count <= INT_MAX && RAND_bytes(out, (int)count) == 1 ? 1 : 0;
}

struct kops_aead {
    EVP_CIPHER_CTX *context;
    int sealing;
};

kops_aead *kops_aead_new(int sealing, const unsigned char key[32]) {
    kops_aead *aead = OPENSSL_malloc(sizeof *aead);
    if (aead == NULL) return NULL;
    aead->sealing = sealing;
    aead->context = EVP_CIPHER_CTX_new();
    // The default length of GCM's nonce is the 12 bytes that are used here.
    if (aead->context == NULL ||
        EVP_CipherInit_ex(aead->context, EVP_aes_256_gcm(), NULL, key, NULL, sealing) != 1) {
        kops_aead_delete(aead);
        return NULL;
    }
    return aead;
}

int kops_aead_seal(kops_aead *aead, const unsigned char nonce[12], const void *in, size_t count, void *out,
                   void *tag) {
    int n = 0, last = 0;
    if (count > INT_MAX) return 0;
    return EVP_CipherInit_ex(aead->context, NULL, NULL, NULL, nonce, 1) == 1 &&
           (count == 0 || EVP_CipherUpdate(aead->context, out, &n, in, (int)count) == 1) &&
           EVP_CipherFinal_ex(aead->context, (unsigned char *)out + n, &last) == 1 &&
           EVP_CIPHER_CTX_ctrl(aead->context, EVP_CTRL_GCM_GET_TAG, 16, tag) == 1;
}

int kops_aead_open(kops_aead *aead, const unsigned char nonce[12], const void *in, size_t count, void *out,
                   const void *tag) {
    int n = 0, last = 0;
    unsigned char copy[16];
    if (count > INT_MAX) return 0;
    for (int i = 0; i < 16; i++) copy[i] = ((const unsigned char *)tag)[i];
    return EVP_CipherInit_ex(aead->context, NULL, NULL, NULL, nonce, 0) == 1 &&
           (count == 0 || EVP_CipherUpdate(aead->context, out, &n, in, (int)count) == 1) &&
           EVP_CIPHER_CTX_ctrl(aead->context, EVP_CTRL_GCM_SET_TAG, 16, copy) == 1 &&
           EVP_CipherFinal_ex(aead->context, (unsigned char *)out + n, &last) == 1;
}

void kops_aead_delete(kops_aead *aead) {
    if (aead == NULL) return;
    EVP_CIPHER_CTX_free(aead->context);
    OPENSSL_free(aead);
}

struct kops_mac_context {
    EVP_MAC_CTX *context;
    unsigned char key[32];
};

kops_mac_context *kops_mac_new(const unsigned char key[32]) {
    kops_mac_context *mac = OPENSSL_zalloc(sizeof *mac);
    if (mac == NULL) return NULL;
    memcpy(mac->key, key, sizeof mac->key);
    EVP_MAC *kind = EVP_MAC_fetch(NULL, "POLY1305", NULL);
    mac->context = EVP_MAC_CTX_new(kind);
    EVP_MAC_free(kind);
    if (mac->context == NULL) {
        kops_mac_delete(mac);
        return NULL;
    }
    return mac;
}

int kops_mac(kops_mac_context *mac, const void *in, size_t count, void *tag) {
    size_t length = 0;
    return EVP_MAC_init(mac->context, mac->key, sizeof mac->key, NULL) == 1 &&
           EVP_MAC_update(mac->context, in, count) == 1 &&
           EVP_MAC_final(mac->context, tag, &length, 16) == 1 && length == 16;
}

void kops_mac_delete(kops_mac_context *mac) {
    if (mac == NULL) return;
    EVP_MAC_CTX_free(mac->context);
    OPENSSL_clear_free(mac, sizeof *mac);
}

int kops_x25519_public(const unsigned char key[32], unsigned char out[32]) {
    size_t n = 32;
    EVP_PKEY *pair = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, key, 32);
    int fine = pair != NULL && EVP_PKEY_get_raw_public_key(pair, out, &n) == 1 && n == 32;
    EVP_PKEY_free(pair);
    ERR_clear_error();
    return fine;
}

int kops_x25519_shared(const unsigned char key[32], const unsigned char peer[32], unsigned char out[32]) {
    size_t n = 32;
    int fine = 0;
    EVP_PKEY *pair = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, key, 32);
    EVP_PKEY *other = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, peer, 32);
    EVP_PKEY_CTX *context = pair == NULL ? NULL : EVP_PKEY_CTX_new(pair, NULL);
    // Deriving fails for the points of low order, whose secret would be zero.
    if (context != NULL && other != NULL) {
        fine = EVP_PKEY_derive_init(context) == 1 && EVP_PKEY_derive_set_peer(context, other) == 1 &&
               EVP_PKEY_derive(context, out, &n) == 1 && n == 32;
    }
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(other);
    EVP_PKEY_free(pair);
    ERR_clear_error();
    return fine;
}

int kops_hkdf_sha256(const unsigned char *secret, size_t secret_count, const unsigned char *salt, size_t salt_count,
                     const unsigned char *info, size_t info_count, unsigned char *out, size_t count) {
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    EVP_KDF_free(kdf);
    if (context == NULL) return 0;
    OSSL_PARAM params[5] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, secret_count),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_count),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_count),
        OSSL_PARAM_construct_end(),
    };
    int fine = EVP_KDF_derive(context, out, count, params) == 1;
    EVP_KDF_CTX_free(context);
    ERR_clear_error();
    return fine;
}
