/* The typed convolution on CPUs with AVX-512, out[v] = sum over r of x[rows[v][r] - 1] W_r: gathers and products in one pass.
 *
 * After M. Dukhan, "The Indirect Convolution Algorithm", 2019: a matrix product reads the rows of its left factor
 * through a table, so that gathered rows are never written anywhere. A table has one entry for each reader and
 * relation: 0, or the number of the row that is read plus one. What is missing for a whole tile is skipped.
 *
 * No result depends on the number of threads: each element is computed by one of them, in a fixed order.
 */
#include <stdlib.h>
#include <string.h>

#include "tiles.h"

/* Rows of a tile, which is as large as the registers hold. */
enum { ROWS = 12 };

/* One relation's weights for one tile, as rows of COLUMNS; in half precision, two of consecutive depth lie together, as the
 * instruction takes them. */
ALWAYS_INLINE void pack_tile(const float *from, int64_t depth, int64_t down, int64_t along, int64_t columns, int half,
                             void *packed) {
    if (half)
        for (int64_t k = 0; k < depth; k += 2)
            for (int64_t j = 0; j < columns; j++)
                ((uint32_t *)packed)[k / 2 * COLUMNS + j] =
                    narrow(from[k * down + j * along]) | (uint32_t)narrow(from[(k + 1) * down + j * along]) << 16;
    else
        for (int64_t k = 0; k < depth; k++)
            for (int64_t j = 0; j < columns; j++) ((float *)packed)[k * COLUMNS + j] = from[k * down + j * along];
}

/* Weights tile by tile and relation by relation, so that tiles read them in order. */
SINGLE static void pack(const Product *p, int half, int threads, char *packed) {
    int64_t tiles = ceil_div(p->columns, COLUMNS), size = p->depth * COLUMNS * (half ? sizeof(bf16) : sizeof(float));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t part = 0; part < tiles * p->relations; part++) {
        int64_t first = part / p->relations * COLUMNS, columns = p->columns - first;
        const float *from = p->weight + part % p->relations * p->strides[0] + first * p->strides[2];
        char *to = packed + part * size;
        if (columns < COLUMNS) memset(to, 0, size);
        if (columns > COLUMNS) columns = COLUMNS;
        /* As they lie in memory, or transposed: compilers make either wide if they know. */
        if (p->strides[2] == 1)
            pack_tile(from, p->depth, p->strides[1], 1, columns, half, to);
        else
            pack_tile(from, p->depth, p->strides[1], p->strides[2], columns, half, to);
    }
}

/* Readers sorted by which relations they have, so that a tile's readers miss the same ones. */
enum { SORTED_RELATIONS = 12 };

SINGLE static void sort_readers(const Product *p, int threads, int32_t *order) {
    int64_t buckets = p->relations > SORTED_RELATIONS ? 0 : (int64_t)1 << p->relations;
    int64_t length = ceil_div(p->readers, SECTIONS);
    uint16_t *pattern = malloc((p->readers + 1) * sizeof(uint16_t));
    int32_t *next = calloc(buckets * SECTIONS + 1, sizeof(int32_t));
    if (!pattern || !next || !buckets) {
        for (int64_t reader = 0; reader < p->readers; reader++) order[reader] = (int32_t)reader;
        free(next);
        free(pattern);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t section = 0; section < SECTIONS; section++) {
            int64_t first = section * length, last = first + length < p->readers ? first + length : p->readers;
            int32_t *count = next + section * buckets;
            for (int64_t reader = first; reader < last; reader++) {
                __m512i rows = _mm512_maskz_loadu_epi32(lanes(p->relations), p->rows + reader * p->relations);
                pattern[reader] = _mm512_test_epi32_mask(rows, rows);
                count[pattern[reader]]++;
            }
        }
#pragma omp single
        {
            int32_t total = 0;
            for (int64_t bucket = 0; bucket < buckets; bucket++)
                for (int64_t section = 0; section < SECTIONS; section++) {
                    int32_t *place = next + section * buckets + bucket, count = *place;
                    *place = total;
                    total += count;
                }
        }
#pragma omp for schedule(static)
        for (int64_t section = 0; section < SECTIONS; section++) {
            int64_t first = section * length, last = first + length < p->readers ? first + length : p->readers;
            for (int64_t reader = first; reader < last; reader++)
                order[next[section * buckets + pattern[reader]]++] = (int32_t)reader;
        }
    }
    free(next);
    free(pattern);
}

/* The rows that a tile reads along one relation, those of zeros where there are none; whether there are any. Those of the
 * next relation are called to the first-level cache: no processor can foresee them. */
#define GATHER(type)                                                                                \
    int any = 0;                                                                                    \
    const type *a[ROWS];                                                                            \
    for (int i = 0; i < ROWS; i++) {                                                                \
        const int32_t *rows = i < count ? p->rows + readers[i] * p->relations + relation : no_row;  \
        a[i] = *rows ? (const type *)p->x + (*rows - (int64_t)1) * p->pitch : zeros;                \
        any |= *rows != 0;                                                                          \
        if (relation + 1 < p->relations && i < count && rows[1])                                    \
            for (int64_t k = 0; k < p->depth; k += 64 / sizeof(type))                               \
                _mm_prefetch((const type *)p->x + (rows[1] - (int64_t)1) * p->pitch + k, _MM_HINT_T0);\
    }                                                                                               \
    if (!any) continue;

static const int32_t no_row[1] = {0};

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
    int32_t *order = malloc((p->readers + 1) * sizeof(int32_t));
    int done = packed && zeros && order;
    if (done) {
        pack(p, half, threads, (char *)packed);
        sort_readers(p, threads, order);
        /* Those with few relations come first: halves would not take equally long. */
#pragma omp parallel for schedule(dynamic, 4) num_threads(threads)
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
