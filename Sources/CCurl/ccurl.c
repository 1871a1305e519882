#include "ccurl.h"

CURLcode kops_curl_setopt_long(CURL *e, CURLoption o, long v) { return curl_easy_setopt(e, o, v); }
CURLcode kops_curl_setopt_off(CURL *e, CURLoption o, curl_off_t v) { return curl_easy_setopt(e, o, v); }
CURLcode kops_curl_setopt_pointer(CURL *e, CURLoption o, const void *v) { return curl_easy_setopt(e, o, v); }
CURLcode kops_curl_setopt_string(CURL *e, CURLoption o, const char *v) { return curl_easy_setopt(e, o, v); }
CURLcode kops_curl_setopt_data(CURL *e, CURLoption o, kops_curl_data_fn f) { return curl_easy_setopt(e, o, f); }
CURLcode kops_curl_setopt_seek(CURL *e, kops_curl_seek_fn f) { return curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, f); }
CURLcode kops_curl_setopt_progress(CURL *e, kops_curl_progress_fn f) { return curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, f); }
CURLcode kops_curl_setopt_opensocket(CURL *e, kops_curl_opensocket_fn f) { return curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, f); }
CURLcode kops_curl_getinfo_long(CURL *e, CURLINFO i, long *v) { return curl_easy_getinfo(e, i, v); }
CURLcode kops_curl_getinfo_off(CURL *e, CURLINFO i, curl_off_t *v) { return curl_easy_getinfo(e, i, v); }
CURLcode kops_curl_getinfo_string(CURL *e, CURLINFO i, const char **v) { return curl_easy_getinfo(e, i, v); }
CURLcode kops_curl_getinfo_pointer(CURL *e, CURLINFO i, void **v) { return curl_easy_getinfo(e, i, v); }
CURLMcode kops_curl_multi_setopt_long(CURLM *m, CURLMoption o, long v) { return curl_multi_setopt(m, o, v); }

CURL *kops_curl_multi_next_done(CURLM *multi, CURLcode *result) {
    int left = 0;
    CURLMsg *message;
    while ((message = curl_multi_info_read(multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            *result = message->data.result;
            return message->easy_handle;
        }
    }
    return NULL;
}

int kops_curl_global_init(void) { return (int)curl_global_init(CURL_GLOBAL_DEFAULT); }
