// The system's zlib, with functions in place of its initialising macros.
#include <zlib.h>

static inline int kops_deflate_init(z_streamp stream, int level, int window_bits) {
    return deflateInit2(stream, level, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY);
}
static inline int kops_inflate_init(z_streamp stream, int window_bits) { return inflateInit2(stream, window_bits); }
