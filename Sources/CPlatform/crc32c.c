#include "crc32c.h"

#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82F63B78u

static uint32_t table[8][256];
// x to the power of 2^n modulo the polynomial, for combining.
static uint32_t powers[64];
static int have_instruction;
// A sum moved over a lane of zeros, byte by byte of the sum.
#define LANE 1024
static uint32_t over_lane[4][256];

// The product of two polynomials modulo ours; bit 31 is x^0 in this reflected form.
static uint32_t multiply(uint32_t a, uint32_t b) {
    uint32_t product = 0;
    for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
        if (a & bit) product ^= b;
        b = b & 1 ? (b >> 1) ^ POLYNOMIAL : b >> 1;
    }
    return product;
}

static void prepare(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++) c = c & 1 ? (c >> 1) ^ POLYNOMIAL : c >> 1;
        table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++) table[t][i] = (table[t - 1][i] >> 8) ^ table[0][table[t - 1][i] & 255];
    powers[0] = 1u << 30;
    for (int i = 1; i < 64; i++) powers[i] = multiply(powers[i - 1], powers[i - 1]);
    // A lane has 2^13 bits.
    for (int t = 0; t < 4; t++)
        for (uint32_t i = 0; i < 256; i++) over_lane[t][i] = multiply(powers[13], i << 8 * t);
#if defined(__x86_64__)
    __builtin_cpu_init();
    have_instruction = __builtin_cpu_supports("sse4.2");
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
    have_instruction = 1;
#endif
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t by_table(uint32_t c, const unsigned char *p, size_t n) {
    while (n >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        word = __builtin_bswap64(word);
#endif
        word ^= c;
        c = table[7][word & 255] ^ table[6][word >> 8 & 255] ^ table[5][word >> 16 & 255] ^ table[4][word >> 24 & 255] ^
            table[3][word >> 32 & 255] ^ table[2][word >> 40 & 255] ^ table[1][word >> 48 & 255] ^ table[0][word >> 56];
        p += 8;
        n -= 8;
    }
    while (n--) c = (c >> 8) ^ table[0][(c ^ *p++) & 255];
    return c;
}

#if defined(__x86_64__)
static uint32_t move_over_lane(uint32_t c) {
    return over_lane[0][c & 255] ^ over_lane[1][c >> 8 & 255] ^ over_lane[2][c >> 16 & 255] ^ over_lane[3][c >> 24];
}

// The instruction takes three cycles and another can begin in each: three lanes go side by side where there is room.
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t c, const unsigned char *p, size_t n) {
    while (n >= 3 * LANE) {
        uint64_t x = c, y = 0, z = 0;
        for (int i = 0; i < LANE; i += 8) {
            uint64_t a, b, d;
            memcpy(&a, p + i, 8);
            memcpy(&b, p + LANE + i, 8);
            memcpy(&d, p + 2 * LANE + i, 8);
            x = __builtin_ia32_crc32di(x, a);
            y = __builtin_ia32_crc32di(y, b);
            z = __builtin_ia32_crc32di(z, d);
        }
        c = move_over_lane(move_over_lane((uint32_t)x) ^ (uint32_t)y) ^ (uint32_t)z;
        p += 3 * LANE;
        n -= 3 * LANE;
    }
    uint64_t wide = c;
    while (n >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        wide = __builtin_ia32_crc32di(wide, word);
        p += 8;
        n -= 8;
    }
    c = (uint32_t)wide;
    while (n--) c = __builtin_ia32_crc32qi(c, *p++);
    return c;
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
static uint32_t by_instruction(uint32_t c, const unsigned char *p, size_t n) {
    while (n >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        c = __crc32cd(c, word);
        p += 8;
        n -= 8;
    }
    while (n--) c = __crc32cb(c, *p++);
    return c;
}
#else
static uint32_t by_instruction(uint32_t c, const unsigned char *p, size_t n) { return by_table(c, p, n); }
#endif

uint32_t kops_crc32c(uint32_t sum, const void *bytes, size_t count) {
    pthread_once(&once, prepare);
    return ~(have_instruction ? by_instruction(~sum, bytes, count) : by_table(~sum, bytes, count));
}

uint32_t kops_crc32c_combine(uint32_t a, uint32_t b, uint64_t count_b) {
    pthread_once(&once, prepare);
    // a · x^(8·count) + b
    for (int n = 3; count_b != 0; n++, count_b >>= 1)
        if (count_b & 1) a = multiply(powers[n & 63], a);
    return a ^ b;
}
