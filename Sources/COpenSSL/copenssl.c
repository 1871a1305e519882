#include "copenssl.h"

struct kops_digest {
    EVP_MD_CTX *context;
};

kops_digest *kops_digest_new(const char *algorithm) {
    const EVP_MD *md = EVP_get_digestbyname(algorithm);
    if (md == NULL) return NULL;
    kops_digest *digest = OPENSSL_malloc(sizeof *digest);
    if (digest == NULL) return NULL;
    digest->context = EVP_MD_CTX_new();
    if (digest->context == NULL || EVP_DigestInit_ex(digest->context, md, NULL) != 1) {
        kops_digest_delete(digest);
        return NULL;
    }
    return digest;
}

int kops_digest_update(kops_digest *digest, const void *bytes, size_t count) {
    return EVP_DigestUpdate(digest->context, bytes, count);
}

int kops_digest_final(kops_digest *digest, unsigned char *out) {
    unsigned int n = 0;
    return EVP_DigestFinal_ex(digest->context, out, &n) == 1 ? (int)n : -1;
}

kops_digest *kops_digest_copy(const kops_digest *digest) {
    kops_digest *copy = OPENSSL_malloc(sizeof *copy);
    if (copy == NULL) return NULL;
    copy->context = EVP_MD_CTX_new();
    if (copy->context == NULL || EVP_MD_CTX_copy_ex(copy->context, digest->context) != 1) {
        kops_digest_delete(copy);
        return NULL;
    }
    return copy;
}

void kops_digest_delete(kops_digest *digest) {
    if (digest == NULL) return;
    EVP_MD_CTX_free(digest->context);
    OPENSSL_free(digest);
}
