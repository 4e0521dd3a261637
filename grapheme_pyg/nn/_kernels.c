/* The typed convolution on CPUs with AVX-512: gathers and matrix products in one pass.
 *
 * After M. Dukhan, "The Indirect Convolution Algorithm", 2019: a matrix product reads the rows of its left factor
 * through a table, so that gathered rows are never written anywhere. A table has one entry for each reader and
 * relation: 0, or the number of the row that is read plus one. What is missing for a whole tile is skipped.
 *
 * No result depends on the number of threads: each element is computed by one of them, in a fixed order.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>

/* A tile of the result is as large as the registers hold: 12 rows of 32 columns. */
enum { ROWS = 12, LANES = 16, COLUMNS = 2 * LANES };
/* Readers whose gradients are gone through at a time, for all relations: they stay in the second-level cache. Sums of so
 * few terms are then added up, which keeps rounding errors small. */
enum { CHUNK = 2048 };

#define SINGLE __attribute__((target("avx512f,avx512bw,avx512vl")))
#define HALF __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))
#define UNROLL _Pragma("GCC unroll 12")

typedef uint16_t bf16;

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* The first lanes, as many as there are columns left. */
static __mmask16 lanes(int64_t left) { return left >= LANES ? 0xffff : left > 0 ? (1u << left) - 1 : 0; }

static bf16 round_to_half(float value) {
    union { float value; uint32_t bits; } u = {value};
    if (value != value) return 0x7fc0;
    return (bf16)((u.bits + 0x7fff + ((u.bits >> 16) & 1)) >> 16);
}

/* ---- out[v] = sum over r of x[rows[v][r] - 1] W_r ---- */

typedef struct {
    const void *x;
    const int64_t *rows;
    const float *weight;
    void *out;
    int64_t readers, relations, depth, columns;
    int64_t pitch;      /* from row to row of x */
    int64_t strides[3]; /* of the weight, along relations, depth and columns */
} Product;

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
                    ((bf16 *)packed)[part * p->depth * COLUMNS + (k / 2 * COLUMNS + j) * 2 + k % 2] = round_to_half(value);
                else
                    ((float *)packed)[(part * p->depth + k) * COLUMNS + j] = value;
            }
    }
}

/* Readers sorted by which relations they have, so that a tile's readers miss the same ones. */
enum { SORTED_RELATIONS = 12 };

static void sort_readers(const Product *p, int threads, int32_t *order) {
    int64_t buckets = 1 << p->relations;
    uint16_t *pattern = malloc(p->readers * sizeof(uint16_t));
    int32_t *next = calloc(buckets + 1, sizeof(int32_t));
    if (!pattern || !next || p->relations > SORTED_RELATIONS) {
        for (int64_t reader = 0; reader < p->readers; reader++) order[reader] = (int32_t)reader;
    } else {
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t reader = 0; reader < p->readers; reader++) {
            unsigned bits = 0;
            for (int64_t relation = 0; relation < p->relations; relation++)
                bits |= (p->rows[reader * p->relations + relation] != 0) << relation;
            pattern[reader] = (uint16_t)bits;
        }
        for (int64_t reader = 0; reader < p->readers; reader++) next[pattern[reader] + 1]++;
        for (int64_t bucket = 0; bucket < buckets; bucket++) next[bucket + 1] += next[bucket];
        for (int64_t reader = 0; reader < p->readers; reader++) order[next[pattern[reader]]++] = (int32_t)reader;
    }
    free(next);
    free(pattern);
}

/* The rows that a tile reads along one relation, those of zeros where there are none; whether there are any. */
#define GATHER(type)                                                                      \
    int any = 0;                                                                          \
    const type *a[ROWS];                                                                  \
    for (int i = 0; i < ROWS; i++) {                                                      \
        int64_t row = i < count ? p->rows[readers[i] * p->relations + relation] : 0;      \
        a[i] = row ? (const type *)p->x + (row - 1) * p->pitch : zeros;                   \
        any |= row != 0;                                                                  \
    }                                                                                     \
    if (!any) continue;

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

static int gather_matmul(const Product *p, int half, int threads) {
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

typedef struct {
    const void *x;
    const int64_t *rows;
    const void *g;
    float *out;
    int64_t readers, relations, depth, columns;
    int64_t pitch; /* from row to row of x */
} Outer;

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

static int gather_outer(const Outer *p, int half, int threads) {
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

/* ---- The plan of a sweep ---- */

typedef struct {
    const int64_t *source, *target, *type; /* of edges */
    int64_t edges;
} Edges;

/* The kind of each edge: its type, and the groups at its ends; and how many there are of each kind. */
static void count_kinds(const Edges *e, const int64_t *group, int64_t groups, int64_t types, int64_t *kind,
                        int64_t *counts, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < e->edges; i++)
        kind[i] = (group[e->source[i]] * groups + group[e->target[i]]) * types + e->type[i];
    for (int64_t i = 0; i < e->edges; i++) counts[kind[i]]++;
}

/* Each edge into the table of its target's sources, and into that of its source's readers. A kind says where: in both
 * tables the place of its relation in its block's first row, and rows apart; and the row of its first source. */
static void fill_tables(const Edges *e, const int64_t *kind, const int64_t *row, const int64_t *first_slot,
                        const int64_t *first_reader, const int64_t *stride, const int64_t *first_source,
                        int64_t *sources, int64_t *readers, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < e->edges; i++) {
        int64_t k = kind[i], target = row[e->target[i]], source = row[e->source[i]] + first_source[k];
        sources[first_slot[k] + target * stride[k]] = source + 1;
        readers[first_reader[k] + source * stride[k]] = target + 1;
    }
}

/* ---- For Python: addresses and sizes, which kernels.py has checked ---- */

static PyObject *py_gather_matmul(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long x, rows, weight, out;
    long long n[5], strides[3];
    int half, threads;
    if (!PyArg_ParseTuple(args, "KKKK(LLLLL)(LLL)pi", &x, &rows, &weight, &out, n, n + 1, n + 2, n + 3, n + 4, strides,
                          strides + 1, strides + 2, &half, &threads))
        return NULL;
    Product product = {(void *)x, (void *)rows, (void *)weight, (void *)out, n[0], n[1], n[2], n[3], n[4],
                       {strides[0], strides[1], strides[2]}};
    int done;
    Py_BEGIN_ALLOW_THREADS done = gather_matmul(&product, half, threads);
    Py_END_ALLOW_THREADS if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *py_gather_outer(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long x, rows, g, out;
    long long n[5];
    int half, threads;
    if (!PyArg_ParseTuple(args, "KKKK(LLLLL)pi", &x, &rows, &g, &out, n, n + 1, n + 2, n + 3, n + 4, &half, &threads))
        return NULL;
    Outer outer = {(void *)x, (void *)rows, (void *)g, (void *)out, n[0], n[1], n[2], n[3], n[4]};
    int done;
    Py_BEGIN_ALLOW_THREADS done = gather_outer(&outer, half, threads);
    Py_END_ALLOW_THREADS if (!done) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *py_count_kinds(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long ends, type, group, kind, counts;
    long long edges, groups, types;
    int threads;
    if (!PyArg_ParseTuple(args, "KKKKK(LLL)i", &ends, &type, &group, &kind, &counts, &edges, &groups, &types, &threads))
        return NULL;
    Edges e = {(int64_t *)ends, (int64_t *)ends + edges, (int64_t *)type, edges};
    Py_BEGIN_ALLOW_THREADS count_kinds(&e, (int64_t *)group, groups, types, (int64_t *)kind, (int64_t *)counts, threads);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *py_fill_tables(PyObject *self, PyObject *args) {
    (void)self;
    unsigned long long ends, kind, row, lookup, sources, readers;
    long long edges, kinds;
    int threads;
    if (!PyArg_ParseTuple(args, "KKKKKK(LL)i", &ends, &kind, &row, &lookup, &sources, &readers, &edges, &kinds, &threads))
        return NULL;
    Edges e = {(int64_t *)ends, (int64_t *)ends + edges, NULL, edges};
    const int64_t *of = (int64_t *)lookup;
    Py_BEGIN_ALLOW_THREADS fill_tables(&e, (int64_t *)kind, (int64_t *)row, of, of + kinds, of + 2 * kinds, of + 3 * kinds,
                                       (int64_t *)sources, (int64_t *)readers, threads);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *py_supports(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    int single = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    int half = single && __builtin_cpu_supports("avx512bf16");
    return Py_BuildValue("(NN)", PyBool_FromLong(single), PyBool_FromLong(half));
}

static PyMethodDef methods[] = {
    {"gather_matmul", py_gather_matmul, METH_VARARGS, "Products of gathered rows and weights."},
    {"gather_outer", py_gather_outer, METH_VARARGS, "Gradients of those weights."},
    {"count_kinds", py_count_kinds, METH_VARARGS, "Kinds of edges."},
    {"fill_tables", py_fill_tables, METH_VARARGS, "Tables of sources and readers."},
    {"supports", py_supports, METH_NOARGS, "Whether this CPU has the instructions, for float32 and for bfloat16."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_kernels", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModule_Create(&module); }
