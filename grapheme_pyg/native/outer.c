/* Gradients of the weights of the typed convolution on CPUs with AVX-512: out[r] += sum over v of the outer product of
 * x[rows[v][r] - 1] and g[v].
 *
 * No result depends on the number of threads: each element is computed by one of them, in a fixed order.
 */
#include <stdlib.h>

#include "tiles.h"

/* Rows of a tile: as many as the registers hold, beside its columns and what they are multiplied by. */
enum { ROWS = 13 };
/* What so many edges read stays in the first-level cache while a task goes over its tiles, one below the other. */
enum { EDGES = 128, TILES = 8, DEPTH = (ROWS * TILES + LANES - 1) / LANES * LANES };

/* A reader and the row that it reads. */
typedef struct {
    int32_t reader, row;
} Edge;

/* Two edges for one instruction: 32 bits hold a number of each. */
typedef struct {
    uint32_t g[EDGES / 2][COLUMNS], x[EDGES / 2][DEPTH];
} Pairs;

/* A tile: `rows` rows of the gradient of a relation from `first` on, and COLUMNS columns. */
typedef struct {
    float *out;
    int64_t pitch; /* from row to row */
    int64_t first, rows;
    __mmask16 low, high; /* the columns that there are */
} Tile;

#define LOAD_SUMS                                                                            \
    __m512 sum[ROWS][2];                                                                     \
    UNROLL for (int i = 0; i < rows; i++) {                                                  \
        sum[i][0] = _mm512_maskz_loadu_ps(t->low, t->out + i * t->pitch);                    \
        sum[i][1] = _mm512_maskz_loadu_ps(t->high, t->out + i * t->pitch + LANES);           \
    }

#define STORE_SUMS                                                                           \
    UNROLL for (int i = 0; i < rows; i++) {                                                  \
        _mm512_mask_storeu_ps(t->out + i * t->pitch, t->low, sum[i][0]);                     \
        _mm512_mask_storeu_ps(t->out + i * t->pitch + LANES, t->high, sum[i][1]);            \
    }

/* Adds the products of some edges, whose columns of g start at `all_g`. */
SINGLE ALWAYS_INLINE void add_single(const Outer *p, const Tile *t, int rows, const Edge *edges, int64_t count,
                                     const float *all_g) {
    const float *all_x = (const float *)p->x + t->first;
    LOAD_SUMS
    for (const Edge *edge = edges; edge < edges + count; edge++) {
        const float *g = all_g + edge->reader * p->columns, *x = all_x + edge->row * p->pitch;
        __m512 left = _mm512_maskz_loadu_ps(t->low, g), right = _mm512_maskz_loadu_ps(t->high, g + LANES);
        UNROLL for (int i = 0; i < rows; i++) {
            __m512 value = _mm512_set1_ps(x[i]);
            sum[i][0] = _mm512_fmadd_ps(value, left, sum[i][0]);
            sum[i][1] = _mm512_fmadd_ps(value, right, sum[i][1]);
        }
    }
    STORE_SUMS
}

/* Adds the products of some pairs, whose rows of x start at `skipped`. */
HALF ALWAYS_INLINE void add_half(const Tile *t, int rows, const Pairs *pairs, int64_t count, int64_t skipped) {
    LOAD_SUMS
    for (int64_t pair = 0; pair < count; pair++) {
        __m512bh left = (__m512bh)_mm512_loadu_si512(pairs->g[pair]);
        __m512bh right = (__m512bh)_mm512_loadu_si512(pairs->g[pair] + LANES);
        UNROLL for (int i = 0; i < rows; i++) {
            __m512bh value = (__m512bh)_mm512_set1_epi32(pairs->x[pair][t->first - skipped + i]);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], value, left);
            sum[i][1] = _mm512_dpbf16_ps(sum[i][1], value, right);
        }
    }
    STORE_SUMS
}

/* Compilers keep sums in registers if they know how many there are. */
#define KNOWING_ROWS(CALL)                                                                               \
    switch (t->rows) {                                                                                   \
        case 1: CALL(1); break;                                                                          \
        case 2: CALL(2); break;                                                                          \
        case 3: CALL(3); break;                                                                          \
        case 4: CALL(4); break;                                                                          \
        case 5: CALL(5); break;                                                                          \
        case 6: CALL(6); break;                                                                          \
        case 7: CALL(7); break;                                                                          \
        case 8: CALL(8); break;                                                                          \
        case 9: CALL(9); break;                                                                          \
        case 10: CALL(10); break;                                                                        \
        case 11: CALL(11); break;                                                                        \
        case 12: CALL(12); break;                                                                        \
        case 13: CALL(13); break;                                                                        \
    }

SINGLE static void tile_single(const Outer *p, const Tile *t, const Edge *edges, int64_t count, const float *all_g) {
#define CALL(rows) add_single(p, t, rows, edges, count, all_g)
    KNOWING_ROWS(CALL)
#undef CALL
}

HALF static void tile_half(const Tile *t, const Pairs *pairs, int64_t count, int64_t skipped) {
#define CALL(rows) add_half(t, rows, pairs, count, skipped)
    KNOWING_ROWS(CALL)
#undef CALL
}

/* Two rows lane by lane, the two halves of each 32 bits. */
HALF static void interleave(const bf16 *one, const bf16 *other, int64_t length, int two, uint32_t *out) {
    for (int64_t k = 0; k < length; k += LANES) {
        __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes(length - k), one + k));
        __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(two ? lanes(length - k) : 0, other + k));
        _mm512_storeu_si512(out + k, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
}

/* Of the columns of g from `all_g` on and those of x from `first` to `last`. The last edge may be alone, with zeros for the
 * other. */
HALF static void pair_up(const Outer *p, const Edge *edges, int64_t count, const bf16 *all_g, int64_t columns, int64_t first,
                         int64_t last, Pairs *pairs) {
    const bf16 *all_x = (const bf16 *)p->x + first;
    for (int64_t i = 0; i < count; i += 2) {
        int two = i + 1 < count;
        const Edge *one = edges + i, *other = one + two;
        interleave(all_g + one->reader * p->columns, all_g + other->reader * p->columns, columns, two, pairs->g[i / 2]);
        interleave(all_x + one->row * p->pitch, all_x + other->row * p->pitch, last - first, two, pairs->x[i / 2]);
    }
}

/* The edges of each relation, a list for each section of the readers, and their numbers. */
static void list_edges(const Outer *p, int64_t length, int threads, Edge *edges, int64_t *counts) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t section = 0; section < SECTIONS; section++) {
        int64_t first = section * length, last = first + length < p->readers ? first + length : p->readers;
        int64_t *count = counts + section * p->relations;
        Edge *own = edges + section * p->relations * length;
        for (int64_t reader = first; reader < last; reader++)
            for (int64_t relation = 0; relation < p->relations; relation++) {
                int32_t row = p->rows[reader * p->relations + relation];
                own[relation * length + count[relation]] = (Edge){(int32_t)reader, row - 1};
                count[relation] += row != 0;
            }
    }
}

int gather_outer(const Outer *p, int half, int threads) {
    int64_t across = ceil_div(p->columns, COLUMNS), down = ceil_div(p->depth, ROWS), groups = ceil_div(down, TILES);
    int64_t length = ceil_div(p->readers, SECTIONS);
    Edge *edges = malloc((p->relations * length * SECTIONS + 1) * sizeof(Edge));
    int64_t *counts = calloc(p->relations * SECTIONS, sizeof(int64_t));
    int done = edges && counts;
    if (done) {
        list_edges(p, length, threads, edges, counts);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
        for (int64_t task = 0; task < p->relations * across * groups; task++) {
            int64_t relation = task / (across * groups), column = task / groups % across * COLUMNS, group = task % groups;
            int64_t columns = p->columns - column < COLUMNS ? p->columns - column : COLUMNS;
            /* Rows are shared evenly among tiles, and tiles among tasks. */
            int64_t top = group * down / groups, bottom = (group + 1) * down / groups;
            int64_t first = top * p->depth / down, last = bottom * p->depth / down;
            Pairs pairs;
            for (int64_t list = relation; list < p->relations * SECTIONS; list += p->relations)
                for (int64_t start = 0; start < counts[list]; start += EDGES) {
                    int64_t count = counts[list] - start < EDGES ? counts[list] - start : EDGES;
                    const Edge *some = edges + list * length + start;
                    if (half) pair_up(p, some, count, (const bf16 *)p->g + column, columns, first, last, &pairs);
                    for (int64_t tile = top; tile < bottom; tile++) {
                        int64_t row = tile * p->depth / down, rows = (tile + 1) * p->depth / down - row;
                        float *out = p->out + (relation * p->depth + row) * p->columns + column;
                        Tile t = {out, p->columns, row, rows, lanes(columns), lanes(columns - LANES)};
                        if (half)
                            tile_half(&t, &pairs, ceil_div(count, 2), first);
                        else
                            tile_single(p, &t, some, count, (const float *)p->g + column);
                    }
                }
        }
    }
    free(counts);
    free(edges);
    return done;
}
