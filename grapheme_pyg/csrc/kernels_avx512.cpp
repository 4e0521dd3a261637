// Kernels for CPUs with AVX-512.
#include "half.h"

#ifdef GRAPHEME_X86
#include <immintrin.h>
#pragma GCC target("avx512f,avx512bw,avx512vl,avx2,fma")

#define VECTOR_BYTES 64
#define PRODUCT_ROWS 12
#define OUTER_ROWS 13

namespace grapheme::avx512 {
namespace {

ALWAYS_INLINE __m512 fused_vectors(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
ALWAYS_INLINE __m512d fused_vectors(__m512d a, __m512d b, __m512d c) { return _mm512_fmadd_pd(a, b, c); }

#include "simd.inc"

}  // namespace

extern const Kernels KERNELS = ALL;

}  // namespace grapheme::avx512
#endif
