#include "cre2.h"

#include <re2/re2.h>

#include <cstring>
#include <new>
#include <vector>

struct kops_re2 {
    re2::RE2 re;
    kops_re2(re2::StringPiece pattern, const re2::RE2::Options &options) : re(pattern, options) {}
};

extern "C" kops_re2 *kops_re2_new(const char *pattern, size_t length, bool dot_all, char *error, size_t error_size) {
    if (error_size > 0) error[0] = 0;
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_dot_nl(dot_all);
    kops_re2 *re = new (std::nothrow) kops_re2(re2::StringPiece(pattern, length), options);
    if (re == nullptr) return nullptr;
    if (re->re.ok()) return re;
    if (error_size > 0) {
        std::strncpy(error, re->re.error().c_str(), error_size - 1);
        error[error_size - 1] = 0;
    }
    delete re;
    return nullptr;
}

extern "C" void kops_re2_delete(kops_re2 *re) { delete re; }

extern "C" int kops_re2_groups(const kops_re2 *re) { return re->re.NumberOfCapturingGroups(); }

extern "C" int kops_re2_group_index(const kops_re2 *re, const char *name, size_t length) {
    const auto &names = re->re.NamedCapturingGroups();
    auto found = names.find(std::string(name, length));
    return found == names.end() ? -1 : found->second;
}

extern "C" bool kops_re2_full_match(const kops_re2 *re, const char *text, size_t length) {
    return re->re.Match(re2::StringPiece(text, length), 0, length, re2::RE2::ANCHOR_BOTH, nullptr, 0);
}

extern "C" bool kops_re2_match(const kops_re2 *re, const char *text, size_t length, size_t start, int anchored, long *begin,
                               long *end, int n) {
    std::vector<re2::StringPiece> groups(n);
    if (!re->re.Match(re2::StringPiece(text, length), start, length,
                      anchored ? re2::RE2::ANCHOR_BOTH : re2::RE2::UNANCHORED, groups.data(), n))
        return false;
    for (int i = 0; i < n; i++) {
        if (groups[i].data() == nullptr) {
            begin[i] = end[i] = -1;
        } else {
            begin[i] = groups[i].data() - text;
            end[i] = begin[i] + static_cast<long>(groups[i].size());
        }
    }
    return true;
}
