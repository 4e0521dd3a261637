/* Passes over rows of channels: batch normalisation with the rectifier, and pooling. Compilers make them wide.
 *
 * Sums are taken over blocks of rows, which do not depend on the number of threads, and then over blocks.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

enum { BLOCK = 256 };

#define FOR_ROWS(block) for (int64_t i = (block) * BLOCK; i < n && i < ((block) + 1) * BLOCK; i++)

/* Columns do not depend on one another, which compilers cannot know. */
#define FOR_COLUMNS _Pragma("omp simd") for (int64_t j = 0; j < c; j++)

static void add_up(const float *parts, int64_t blocks, int64_t width, double scale, float *out) {
    for (int64_t j = 0; j < width; j++) {
        double total = 0;
        for (int64_t block = 0; block < blocks; block++) total += parts[block * width + j];
        out[j] = (float)(total * scale);
    }
}

#define TYPE float
#define NAME(function) function##_single
#define WIDEN(value) (value)
#define NARROW(value) (value)
#include "rows.inc"
#undef TYPE
#undef NAME
#undef WIDEN
#undef NARROW

#define TYPE bf16
#define NAME(function) function##_half
#define WIDEN(value) widen(value)
#define NARROW(value) narrow(value)
#include "rows.inc"
