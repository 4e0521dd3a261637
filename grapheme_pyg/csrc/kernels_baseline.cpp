// Kernels for the default instructions of compilers: SSE2 on x86-64, NEON on ARM.
#include "half.h"

#define VECTOR_BYTES 16
#ifdef __aarch64__
#include <arm_neon.h>
#define PRODUCT_ROWS 12
#define OUTER_ROWS 12
#else
#define PRODUCT_ROWS 6
#define OUTER_ROWS 6
#endif

namespace grapheme::baseline {
namespace {

#ifdef __aarch64__
ALWAYS_INLINE float32x4_t fused_vectors(float32x4_t a, float32x4_t b, float32x4_t c) { return vfmaq_f32(c, a, b); }
ALWAYS_INLINE float64x2_t fused_vectors(float64x2_t a, float64x2_t b, float64x2_t c) { return vfmaq_f64(c, a, b); }
#else
template <class V>
ALWAYS_INLINE V fused_vectors(V a, V b, V c) {
    return a * b + c;
}
#endif

#include "simd.inc"

}  // namespace

extern const Kernels KERNELS = ALL;

}  // namespace grapheme::baseline
