// Kernels for CPUs with AVX2.
#include "half.h"

#ifdef GRAPHEME_X86
#include <immintrin.h>
#pragma GCC target("avx2,fma,f16c")

#define VECTOR_BYTES 32
#define PRODUCT_ROWS 6
#define OUTER_ROWS 6

namespace grapheme::avx2 {
namespace {

ALWAYS_INLINE __m256 fused_vectors(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
ALWAYS_INLINE __m256d fused_vectors(__m256d a, __m256d b, __m256d c) { return _mm256_fmadd_pd(a, b, c); }

#include "simd.inc"

}  // namespace

extern const Kernels KERNELS = ALL;

}  // namespace grapheme::avx2
#endif
