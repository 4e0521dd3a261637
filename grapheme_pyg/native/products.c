/* The typed convolution on CPUs with AVX-512: gathers and matrix products in one pass.
 *
 * After M. Dukhan, "The Indirect Convolution Algorithm", 2019: a matrix product reads the rows of its left factor
 * through a table, so that gathered rows are never written anywhere. A table has one entry for each reader and
 * relation: 0, or the number of the row that is read plus one. What is missing for a whole tile is skipped.
 *
 * No result depends on the number of threads: each element is computed by one of them, in a fixed order.
 */
#include <immintrin.h>
#include <stdlib.h>

#include "kernels.h"

/* A tile of the result is as large as the registers hold: 12 rows of 32 columns. */
enum { ROWS = 12, LANES = 16, COLUMNS = 2 * LANES };
/* Readers whose gradients are gone through at a time, for all relations: they stay in the second-level cache. Sums of so
 * few terms are then added up, which keeps rounding errors small. */
enum { CHUNK = 2048 };

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* The first lanes, as many as there are columns left. */
static __mmask16 lanes(int64_t left) { return left >= LANES ? 0xffff : left > 0 ? (1u << left) - 1 : 0; }

/* ---- out[v] = sum over r of x[rows[v][r] - 1] W_r ---- */

/* Weights tile by tile and relation by relation, COLUMNS beside one another, so that tiles read them in order. In half
 * precision, two of consecutive depth lie together, as the instruction takes them. */
static void pack(const Product *p, int half, int threads, void *packed) {
    int64_t tiles = ceil_div(p->columns, COLUMNS);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t part = 0; part < tiles * p->relations; part++) {
        int64_t tile = part / p->relations, relation = part % p->relations;
        for (int64_t k = 0; k < p->depth; k++)
            for (int64_t j = 0; j < COLUMNS; j++) {
                int64_t column = tile * COLUMNS + j;
                float value = 0;
                if (column < p->columns)
                    value = p->weight[relation * p->strides[0] + k * p->strides[1] + column * p->strides[2]];
                if (half)
                    ((bf16 *)packed)[part * p->depth * COLUMNS + (k / 2 * COLUMNS + j) * 2 + k % 2] = narrow(value);
                else
                    ((float *)packed)[(part * p->depth + k) * COLUMNS + j] = value;
            }
    }
}

/* Readers sorted by which relations they have, so that a tile's readers miss the same ones. */
enum { SORTED_RELATIONS = 18 };

static void sort_readers(const Product *p, int threads, int32_t *order) {
    int64_t buckets = p->relations > SORTED_RELATIONS ? 1 : (int64_t)1 << p->relations;
    uint32_t *pattern = malloc(p->readers * sizeof(uint32_t));
    int32_t *next = calloc(buckets + 1, sizeof(int32_t));
    if (!pattern || !next || p->relations > SORTED_RELATIONS) {
        for (int64_t reader = 0; reader < p->readers; reader++) order[reader] = (int32_t)reader;
    } else {
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t reader = 0; reader < p->readers; reader++) {
            uint32_t bits = 0;
            for (int64_t relation = 0; relation < p->relations; relation++)
                bits |= (uint32_t)(p->rows[reader * p->relations + relation] != 0) << relation;
            pattern[reader] = bits;
        }
        for (int64_t reader = 0; reader < p->readers; reader++) next[pattern[reader] + 1]++;
        for (int64_t bucket = 0; bucket < buckets; bucket++) next[bucket + 1] += next[bucket];
        for (int64_t reader = 0; reader < p->readers; reader++) order[next[pattern[reader]]++] = (int32_t)reader;
    }
    free(next);
    free(pattern);
}

/* The rows that a tile reads along one relation, those of zeros where there are none; whether there are any. Those of the
 * next relation are called to the first-level cache: no processor can foresee them. */
#define GATHER(type)                                                                                 \
    int any = 0;                                                                                     \
    const type *a[ROWS];                                                                             \
    for (int i = 0; i < ROWS; i++) {                                                                 \
        const int64_t *rows = i < count ? p->rows + readers[i] * p->relations + relation : no_row;   \
        a[i] = *rows ? (const type *)p->x + (*rows - 1) * p->pitch : zeros;                          \
        any |= *rows != 0;                                                                           \
        if (relation + 1 < p->relations && i < count && rows[1])                                     \
            for (int64_t k = 0; k < p->depth; k += 64 / sizeof(type))                                \
                _mm_prefetch((const type *)p->x + (rows[1] - 1) * p->pitch + k, _MM_HINT_T0);        \
    }                                                                                                \
    if (!any) continue;

static const int64_t no_row[1] = {0};

/* Stores a tile of sums. */
#define ADD_TILE                                                                                                        \
    UNROLL for (int i = 0; i < ROWS; i++) {                                                                             \
        if (i >= here) break;                                                                                           \
        float *to = out + (first + i) * p->columns + tile * COLUMNS;                                                    \
        _mm512_mask_storeu_ps(to, low, _mm512_add_ps(_mm512_maskz_loadu_ps(low, to), sum[i][0]));                       \
        to += LANES;                                                                                                    \
        _mm512_mask_storeu_ps(to, high, _mm512_add_ps(_mm512_maskz_loadu_ps(high, to), sum[i][1]));                     \
    }

SINGLE static void tile_single(const Product *p, const int32_t *readers, int count, int64_t tile, const float *packed,
                               const float *zeros) {
    __m512 sum[ROWS][2];
    UNROLL for (int i = 0; i < ROWS; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (int64_t relation = 0; relation < p->relations; relation++) {
        GATHER(float)
        const float *b = packed + (tile * p->relations + relation) * p->depth * COLUMNS;
        for (int64_t k = 0; k < p->depth; k++, b += COLUMNS) {
            __m512 left = _mm512_load_ps(b), right = _mm512_load_ps(b + LANES);
            UNROLL for (int i = 0; i < ROWS; i++) {
                __m512 value = _mm512_set1_ps(a[i][k]);
                sum[i][0] = _mm512_fmadd_ps(value, left, sum[i][0]);
                sum[i][1] = _mm512_fmadd_ps(value, right, sum[i][1]);
            }
        }
    }
    float *out = (float *)p->out + tile * COLUMNS;
    __mmask16 low = lanes(p->columns - tile * COLUMNS), high = lanes(p->columns - tile * COLUMNS - LANES);
    UNROLL for (int i = 0; i < ROWS; i++) {
        if (i >= count) break;
        _mm512_mask_storeu_ps(out + readers[i] * p->columns, low, sum[i][0]);
        _mm512_mask_storeu_ps(out + readers[i] * p->columns + LANES, high, sum[i][1]);
    }
}

HALF static void tile_half(const Product *p, const int32_t *readers, int count, int64_t tile, const bf16 *packed,
                           const bf16 *zeros) {
    __m512 sum[ROWS][2];
    UNROLL for (int i = 0; i < ROWS; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (int64_t relation = 0; relation < p->relations; relation++) {
        GATHER(bf16)
        const bf16 *b = packed + (tile * p->relations + relation) * p->depth * COLUMNS;
        for (int64_t k = 0; k < p->depth; k += 2, b += 2 * COLUMNS) {
            __m512bh left = (__m512bh)_mm512_load_si512(b), right = (__m512bh)_mm512_load_si512(b + COLUMNS);
            UNROLL for (int i = 0; i < ROWS; i++) {
                int32_t pair;
                __builtin_memcpy(&pair, a[i] + k, sizeof pair);
                __m512bh value = (__m512bh)_mm512_set1_epi32(pair);
                sum[i][0] = _mm512_dpbf16_ps(sum[i][0], value, left);
                sum[i][1] = _mm512_dpbf16_ps(sum[i][1], value, right);
            }
        }
    }
    bf16 *out = (bf16 *)p->out + tile * COLUMNS;
    __mmask16 low = lanes(p->columns - tile * COLUMNS), high = lanes(p->columns - tile * COLUMNS - LANES);
    UNROLL for (int i = 0; i < ROWS; i++) {
        if (i >= count) break;
        _mm256_mask_storeu_epi16(out + readers[i] * p->columns, low, (__m256i)_mm512_cvtneps_pbh(sum[i][0]));
        _mm256_mask_storeu_epi16(out + readers[i] * p->columns + LANES, high, (__m256i)_mm512_cvtneps_pbh(sum[i][1]));
    }
}

int gather_matmul(const Product *p, int half, int threads) {
    int64_t size = half ? sizeof(bf16) : sizeof(float), tiles = ceil_div(p->columns, COLUMNS);
    void *packed = aligned_alloc(64, tiles * p->relations * p->depth * COLUMNS * size);
    void *zeros = calloc(p->depth, size);
    int32_t *order = malloc(p->readers * sizeof(int32_t));
    int done = packed && zeros && order;
    if (done) {
        pack(p, half, threads, packed);
        sort_readers(p, threads, order);
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t block = 0; block < ceil_div(p->readers, ROWS); block++) {
            int64_t first = block * ROWS;
            int count = p->readers - first < ROWS ? p->readers - first : ROWS;
            for (int64_t tile = 0; tile < tiles; tile++) {
                if (half)
                    tile_half(p, order + first, count, tile, packed, zeros);
                else
                    tile_single(p, order + first, count, tile, packed, zeros);
            }
        }
    }
    free(order);
    free(zeros);
    free(packed);
    return done;
}

/* ---- out[r] = sum over v of the outer product of x[rows[v][r] - 1] and g[v] ---- */

/* A reader and the row that it reads. */
typedef struct {
    int32_t reader, row;
} Edge;

/* Adds a tile, ROWS rows of the gradient of one relation from the first on, of some edges. */
SINGLE static void outer_single(const Outer *p, const Edge *edges, int64_t count, int64_t first, int64_t tile,
                                float *out) {
    int here = p->depth - first < ROWS ? p->depth - first : ROWS;
    __mmask16 low = lanes(p->columns - tile * COLUMNS), high = lanes(p->columns - tile * COLUMNS - LANES);
    const float *all_g = (const float *)p->g + tile * COLUMNS, *all_x = (const float *)p->x + first;
    __m512 sum[ROWS][2];
    UNROLL for (int i = 0; i < ROWS; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (const Edge *edge = edges; edge < edges + count; edge++) {
        const float *g = all_g + edge->reader * p->columns, *x = all_x + edge->row * p->pitch;
        float some[LANES];
        if (here < ROWS) {
            _mm512_storeu_ps(some, _mm512_maskz_loadu_ps(lanes(here), x));
            x = some;
        }
        __m512 left = _mm512_maskz_loadu_ps(low, g), right = _mm512_maskz_loadu_ps(high, g + LANES);
        UNROLL for (int i = 0; i < ROWS; i++) {
            __m512 value = _mm512_set1_ps(x[i]);
            sum[i][0] = _mm512_fmadd_ps(value, left, sum[i][0]);
            sum[i][1] = _mm512_fmadd_ps(value, right, sum[i][1]);
        }
    }
    ADD_TILE
}

/* Two rows lane by lane, the two halves of each 32 bits. */
HALF static __m512i interleave(const bf16 *one, const bf16 *other, __mmask16 mask, __mmask16 other_mask) {
    __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, one));
    __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(other_mask, other));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}

HALF static void outer_half(const Outer *p, const Edge *edges, int64_t count, int64_t first, int64_t tile, float *out) {
    int here = p->depth - first < ROWS ? p->depth - first : ROWS;
    __mmask16 low = lanes(p->columns - tile * COLUMNS), high = lanes(p->columns - tile * COLUMNS - LANES);
    const bf16 *all_g = (const bf16 *)p->g + tile * COLUMNS, *all_x = (const bf16 *)p->x + first;
    __m512 sum[ROWS][2];
    UNROLL for (int i = 0; i < ROWS; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (const Edge *edge = edges; edge < edges + count; edge += 2) {
        /* Two edges for one instruction; the last may be alone, with zeros for the other. */
        int two = edge + 1 < edges + count;
        const Edge *next = edge + two;
        const bf16 *g = all_g + edge->reader * p->columns, *next_g = all_g + next->reader * p->columns;
        const bf16 *x = all_x + edge->row * p->pitch, *next_x = all_x + next->row * p->pitch;
        __m512bh left = (__m512bh)interleave(g, next_g, low, two ? low : 0);
        __m512bh right = (__m512bh)interleave(g + LANES, next_g + LANES, high, two ? high : 0);
        int32_t pairs[LANES];
        _mm512_storeu_si512(pairs, interleave(x, next_x, lanes(here), two ? lanes(here) : 0));
        UNROLL for (int i = 0; i < ROWS; i++) {
            __m512bh value = (__m512bh)_mm512_set1_epi32(pairs[i]);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], value, left);
            sum[i][1] = _mm512_dpbf16_ps(sum[i][1], value, right);
        }
    }
    ADD_TILE
}

int gather_outer(const Outer *p, int half, int threads) {
    int64_t tiles = ceil_div(p->columns, COLUMNS), slabs = ceil_div(p->depth, ROWS);
    Edge *edges = malloc(p->relations * CHUNK * sizeof(Edge));
    int64_t *counts = malloc(p->relations * sizeof(int64_t));
    if (edges && counts) {
#pragma omp parallel num_threads(threads)
        for (int64_t start = 0; start < p->readers; start += CHUNK) {
            int64_t stop = start + CHUNK < p->readers ? start + CHUNK : p->readers;
#pragma omp for schedule(dynamic)
            for (int64_t relation = 0; relation < p->relations; relation++) {
                Edge *own = edges + relation * CHUNK;
                int64_t count = 0;
                for (int64_t reader = start; reader < stop; reader++) {
                    int64_t row = p->rows[reader * p->relations + relation];
                    own[count] = (Edge){(int32_t)reader, (int32_t)(row - 1)};
                    count += row != 0;
                }
                counts[relation] = count;
            }
#pragma omp for schedule(dynamic)
            for (int64_t task = 0; task < p->relations * slabs * tiles; task++) {
                int64_t relation = task / (slabs * tiles), first = task / tiles % slabs * ROWS, tile = task % tiles;
                float *out = p->out + relation * p->depth * p->columns;
                (half ? outer_half : outer_single)(p, edges + relation * CHUNK, counts[relation], first, tile, out);
            }
        }
    }
    int done = edges && counts;
    free(counts);
    free(edges);
    return done;
}

