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
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int seconds_of(const ASN1_TIME *time, long long *out) {
    struct tm parts;
    if (time == NULL || ASN1_TIME_to_tm(time, &parts) != 1) return -1;
    *out = (long long)timegm(&parts);
    return 0;
}

static void name_of(const X509_NAME *name, char *out, size_t size) {
    BIO *text = BIO_new(BIO_s_mem());
    if (text == NULL) return;
    X509_NAME_print_ex(text, name, 0, XN_FLAG_RFC2253);
    int n = BIO_read(text, out, (int)size - 1);
    out[n > 0 ? n : 0] = 0;
    BIO_free(text);
}

static int fill(X509 *certificate, kops_certificate *out) {
    memset(out, 0, sizeof *out);
    int result = 1;
    if (seconds_of(X509_get0_notBefore(certificate), &out->not_before) != 0 ||
        seconds_of(X509_get0_notAfter(certificate), &out->not_after) != 0) result = -1;
    out->is_ca = X509_check_ca(certificate) > 0;
    name_of(X509_get_subject_name(certificate), out->subject, sizeof out->subject);
    name_of(X509_get_issuer_name(certificate), out->issuer, sizeof out->issuer);
    int at = X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1);
    BIO *text = at < 0 ? NULL : BIO_new(BIO_s_mem());
    if (text != NULL) {
        X509V3_EXT_print(text, X509_get_ext(certificate, at), 0, 0);
        int n = BIO_read(text, out->names, sizeof out->names - 1);
        out->names[n > 0 ? n : 0] = 0;
        BIO_free(text);
    }
    BIGNUM *serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *digits = serial == NULL ? NULL : BN_bn2hex(serial);
    if (digits != NULL) strncpy(out->serial, digits, sizeof out->serial - 1);
    OPENSSL_free(digits);
    BN_free(serial);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    if (X509_digest(certificate, EVP_sha256(), digest, &length) == 1) {
        for (unsigned int i = 0; i < length && i < 32; i++) snprintf(out->sha256 + 2 * i, 3, "%02x", digest[i]);
    }
    ERR_clear_error();
    return result;
}

static X509 *first_of(const void *pem, size_t count) {
    if (count > INT_MAX) return NULL;
    BIO *bio = BIO_new_mem_buf(pem, (int)count);
    if (bio == NULL) return NULL;
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    ERR_clear_error();
    return certificate;
}

static EVP_PKEY *key_of(const void *pem, size_t count) {
    if (count > INT_MAX) return NULL;
    BIO *bio = BIO_new_mem_buf(pem, (int)count);
    if (bio == NULL) return NULL;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, "");
    BIO_free(bio);
    ERR_clear_error();
    return key;
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
    int result = fill(certificate, out);
    X509_free(certificate);
    return result;
}

int kops_certificate_matches_key(const void *pem, size_t count, const void *key, size_t key_count) {
    X509 *certificate = first_of(pem, count);
    EVP_PKEY *private_key = key_of(key, key_count);
    int result = certificate == NULL || private_key == NULL ? -1 : X509_check_private_key(certificate, private_key) == 1;
    EVP_PKEY_free(private_key);
    X509_free(certificate);
    ERR_clear_error();
    return result;
}

int kops_certificate_signed_by(const void *pem, size_t count, const void *ca, size_t ca_count) {
    X509 *certificate = first_of(pem, count);
    X509 *issuer = first_of(ca, ca_count);
    int result = -1;
    if (certificate != NULL && issuer != NULL) {
        EVP_PKEY *key = X509_get0_pubkey(issuer);
        result = key == NULL ? -1 : X509_verify(certificate, key) == 1;
    }
    X509_free(issuer);
    X509_free(certificate);
    ERR_clear_error();
    return result;
}

int kops_tls_served(int socket, const char *server_name, const void *cert, size_t cert_count, const void *key,
                    size_t key_count, kops_certificate *out) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL) return -1;
    int result = -1;
    // Old components are looked at as well as new ones; nothing secret is sent over the connection.
    SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    if (cert != NULL && key != NULL) {
        X509 *own = first_of(cert, cert_count);
        EVP_PKEY *own_key = key_of(key, key_count);
        int usable = own != NULL && own_key != NULL && SSL_CTX_use_certificate(context, own) == 1 &&
                     SSL_CTX_use_PrivateKey(context, own_key) == 1;
        X509_free(own);
        EVP_PKEY_free(own_key);
        if (!usable) goto done;
    }
    SSL *ssl = SSL_new(context);
    if (ssl == NULL) goto done;
    if (SSL_set_fd(ssl, socket) == 1) {
        if (server_name != NULL) SSL_set_tlsext_host_name(ssl, server_name);
        int connected = SSL_connect(ssl);
        // A server that wants another client certificate ends the handshake after it has shown its own.
        X509 *served = SSL_get1_peer_certificate(ssl);
        result = served == NULL ? 0 : fill(served, out);
        X509_free(served);
        if (connected == 1) SSL_shutdown(ssl);
    }
    SSL_free(ssl);
done:
    SSL_CTX_free(context);
    ERR_clear_error();
    return result;
}
