#include "copenssl.h"
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

// Without it OpenSSL would ask at the terminal.
static int no_password(char *buffer, int size, int writing, void *context) {
    (void)buffer; (void)size; (void)writing; (void)context;
    return -1;
}

static EVP_PKEY *public_of(const void *pem, size_t count) {
    BIO *bio = BIO_new_mem_buf(pem, (int)count);
    if (bio == NULL) return NULL;
    EVP_PKEY *key = NULL;
    X509 *certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    if (certificate != NULL) {
        key = X509_get_pubkey(certificate);
        X509_free(certificate);
    } else {
        (void)BIO_reset(bio);
        key = PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL);
    }
    BIO_free(bio);
    return key;
}

int kops_key_fits(const void *public_pem, size_t public_count, const void *key_pem, size_t key_count) {
    if (public_count > INT_MAX || key_count > INT_MAX) return -1;
    EVP_PKEY *open = public_of(public_pem, public_count);
    BIO *bio = BIO_new_mem_buf(key_pem, (int)key_count);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    int result = open == NULL || key == NULL ? -1 : EVP_PKEY_eq(open, key) == 1;
    EVP_PKEY_free(open);
    EVP_PKEY_free(key);
    BIO_free(bio);
    ERR_clear_error();
    return result;
}
