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

#include <limits.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <openssl/err.h>
#include <string.h>
#include <time.h>

static int seconds_of(const ASN1_TIME *time, long long *out) {
    struct tm parts;
    if (time == NULL || ASN1_TIME_to_tm(time, &parts) != 1) return -1;
    *out = (long long)timegm(&parts);
    return 0;
}

int kops_certificate_read(const void *pem, size_t count, size_t index, kops_certificate *out) {
    if (count > INT_MAX) return -1;
    BIO *bio = BIO_new_mem_buf(pem, (int)count);
    if (bio == NULL) return -1;
    X509 *certificate = NULL;
    for (size_t i = 0; i <= index; i++) {
        X509_free(certificate);
        certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (certificate == NULL) {
            BIO_free(bio);
            ERR_clear_error();
            return i == 0 && index == 0 ? -1 : 0;
        }
    }
    BIO_free(bio);
    memset(out, 0, sizeof *out);
    int result = 1;
    if (seconds_of(X509_get0_notBefore(certificate), &out->not_before) != 0 ||
        seconds_of(X509_get0_notAfter(certificate), &out->not_after) != 0) result = -1;
    out->is_ca = X509_check_ca(certificate) > 0;
    BIO *text = BIO_new(BIO_s_mem());
    if (text != NULL) {
        X509_NAME_print_ex(text, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
        int n = BIO_read(text, out->subject, sizeof out->subject - 1);
        out->subject[n > 0 ? n : 0] = 0;
        BIO_free(text);
    }
    BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *digits = serial == NULL ? NULL : BN_bn2hex(serial);
    if (digits != NULL) strncpy(out->serial, digits, sizeof out->serial - 1);
    OPENSSL_free(digits);
    BN_free(serial);
    X509_free(certificate);
    return result;
}
