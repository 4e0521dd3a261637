/* What products share: they are computed in tiles that stay in registers. */
#ifndef GRAPHEME_TILES_H
#define GRAPHEME_TILES_H

#include <immintrin.h>

#include "kernels.h"

/* Columns of a tile: two registers. */
enum { LANES = 16, COLUMNS = 2 * LANES };
/* Readers are gone through in so many sections, whatever the number of threads. */
enum { SECTIONS = 4 };

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 13")

ALWAYS_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* The first lanes, as many as there are columns left. */
ALWAYS_INLINE __mmask16 lanes(int64_t left) { return left >= LANES ? 0xffff : left > 0 ? (1u << left) - 1 : 0; }

#endif
