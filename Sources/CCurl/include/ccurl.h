// libcurl for Swift: its header, and plain functions in place of its variadic ones.
#ifndef KOPS_CCURL_H
#define KOPS_CCURL_H
#include <curl/curl.h>

typedef size_t (*kops_curl_data_fn)(char *bytes, size_t size, size_t count, void *context);
typedef int (*kops_curl_progress_fn)(void *context, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow);
typedef int (*kops_curl_seek_fn)(void *context, curl_off_t offset, int origin);
typedef curl_socket_t (*kops_curl_opensocket_fn)(void *context, curlsocktype purpose, struct curl_sockaddr *address);

CURLcode kops_curl_setopt_long(CURL *easy, CURLoption option, long value);
CURLcode kops_curl_setopt_off(CURL *easy, CURLoption option, curl_off_t value);
CURLcode kops_curl_setopt_pointer(CURL *easy, CURLoption option, const void *value);
CURLcode kops_curl_setopt_string(CURL *easy, CURLoption option, const char *value);
CURLcode kops_curl_setopt_data(CURL *easy, CURLoption option, kops_curl_data_fn function);
CURLcode kops_curl_setopt_seek(CURL *easy, kops_curl_seek_fn function);
CURLcode kops_curl_setopt_progress(CURL *easy, kops_curl_progress_fn function);
CURLcode kops_curl_setopt_opensocket(CURL *easy, kops_curl_opensocket_fn function);
CURLcode kops_curl_getinfo_long(CURL *easy, CURLINFO info, long *value);
CURLcode kops_curl_getinfo_off(CURL *easy, CURLINFO info, curl_off_t *value);
CURLcode kops_curl_getinfo_string(CURL *easy, CURLINFO info, const char **value);
CURLcode kops_curl_getinfo_pointer(CURL *easy, CURLINFO info, void **value);
CURLMcode kops_curl_multi_setopt_long(CURLM *multi, CURLMoption option, long value);
// The next finished transfer's handle and result, or null.
CURL *kops_curl_multi_next_done(CURLM *multi, CURLcode *result);
int kops_curl_global_init(void);
#endif
