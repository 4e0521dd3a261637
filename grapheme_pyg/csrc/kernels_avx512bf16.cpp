// Products of bfloat16 rows for CPUs that multiply pairs of bfloat16.
#include "half.h"

#ifdef GRAPHEME_X86
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512bf16,avx2,fma")

#define VECTOR_BYTES 64
#define PRODUCT_ROWS 12
#define OUTER_ROWS 13

namespace grapheme::avx512bf16 {
namespace {

#include "products.inc"

// A pair has values of consecutive depth, or of two edges.
struct Pairs {
    typedef Bfloat16 Stored;
    typedef uint32_t Element;
    typedef float Sum;
    static constexpr int64_t STEP = 2;

    ALWAYS_INLINE uint32_t element(const float *from, int64_t down) {
        Bfloat16 pair[2];
        narrow(from[0], pair[0]);
        narrow(from[down], pair[1]);
        return both(pair, pair + 1);
    }
    ALWAYS_INLINE uint32_t both(const Bfloat16 *one, const Bfloat16 *other) {
        return one->bits | static_cast<uint32_t>(other->bits) << 16;
    }
    ALWAYS_INLINE __m512 fused(__m512 a, __m512 b, __m512 c) {
        return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
    }
};

}  // namespace

extern const Products PRODUCTS_OF_PAIRS = PRODUCTS<Pairs>;

}  // namespace grapheme::avx512bf16
#endif
