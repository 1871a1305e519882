// RE2 for Swift: linear-time regular expressions with exactly Prometheus' syntax.
#ifndef KOPS_CRE2_H
#define KOPS_CRE2_H
#include <stdbool.h>
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif
typedef struct kops_re2 kops_re2;

// Compiles; dot matches newlines when dot_all. On a bad pattern returns null and writes the reason to error (always
// terminated). Null too when memory runs out. A compiled expression may be used from several threads at once.
kops_re2 *kops_re2_new(const char *pattern, size_t length, bool dot_all, char *error, size_t error_size);
void kops_re2_delete(kops_re2 *re);
// Number of capturing groups.
int kops_re2_groups(const kops_re2 *re);
// Index of the named group, or -1.
int kops_re2_group_index(const kops_re2 *re, const char *name, size_t length);
// Whether the whole text matches.
bool kops_re2_full_match(const kops_re2 *re, const char *text, size_t length);
// Searches from start; fills begin/end byte offsets of n groups (group 0 is the match; -1 where it took no part).
// anchored: 0 anywhere, 1 the whole text from start on.
bool kops_re2_match(const kops_re2 *re, const char *text, size_t length, size_t start, int anchored, long *begin, long *end, int n);
#ifdef __cplusplus
}
#endif
#endif
