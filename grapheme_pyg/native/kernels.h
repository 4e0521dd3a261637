/* What the kernels share. Sizes are in elements, and nothing is checked: that is for kernels.py. */
#ifndef GRAPHEME_KERNELS_H
#define GRAPHEME_KERNELS_H

#include <stdint.h>

#define SINGLE __attribute__((target("avx512f,avx512bw,avx512vl")))
#define HALF __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

typedef uint16_t bf16;

static inline float widen(bf16 value) {
    union { uint32_t bits; float value; } u = {(uint32_t)value << 16};
    return u.value;
}

/* To the nearest, ties to even. Not-a-number stays so. */
static inline bf16 narrow(float value) {
    union { float value; uint32_t bits; } u = {value};
    uint32_t rounded = (u.bits + 0x7fff + ((u.bits >> 16) & 1)) >> 16;
    return (bf16)(value != value ? 0x7fc0 : rounded);
}

typedef struct {
    const void *x;
    const int32_t *rows;
    const float *weight;
    void *out;
    int64_t readers, relations, depth, columns;
    int64_t pitch;      /* from row to row of x */
    int64_t strides[3]; /* of the weight, along relations, depth and columns */
} Product;

typedef struct {
    const void *x;
    const int32_t *rows;
    const void *g;
    float *out;
    int64_t readers, relations, depth, columns;
    int64_t pitch; /* from row to row of x */
} Outer;

typedef struct {
    const int64_t *source, *target, *type; /* of edges */
    int64_t edges;
} Edges;

typedef struct {
    const int64_t *type, *level, *graph; /* of nodes; no graph if there is one alone */
    int64_t nodes, types, levels, graphs;
} Typed;

typedef struct {
    const int64_t *source; /* of edges */
    const int64_t *type;   /* of nodes */
    const int64_t *kind;   /* of node types */
    const uint8_t *read;   /* node types */
    int64_t edges, nodes, types, kinds;
} Choice;

typedef struct {
    const int64_t *entity;           /* of each node */
    const int64_t *source, *target;  /* of edges */
    int64_t nodes, edges, entities;
} Lattice;

typedef struct {
    int64_t channels, height, width; /* of images */
    int64_t patch, margin, threshold;
    int64_t levels, features;
    const int64_t *rows, *columns; /* of the levels */
} Grid;

/* Those that need memory return whether there was enough. */
int gather_matmul(const Product *p, int half, int threads);
int gather_outer(const Outer *p, int half, int threads);
int64_t group_nodes(const int64_t *key, int64_t nodes, int64_t keys, int64_t *counts, int64_t *order, int64_t *group,
                    int64_t *row); /* negative without memory */
void count_kinds(const Edges *e, const int64_t *group, int64_t groups, int64_t types, int64_t *kind, int64_t *counts,
                 int threads);
int64_t choose_nodes(const Choice *c, int64_t *order, int64_t *counts, int threads); /* negative without memory */
int check_graph(const Edges *e, const Typed *n, const int64_t *ends, int64_t types, int threads);
int all_finite(const float *x, int64_t count, int threads);
int find_runs(const int64_t *graph, int64_t nodes, int64_t graphs, int64_t *first);
void fill_tables(const Edges *e, const int64_t *kind, const int64_t *row, const int64_t *first_slot,
                 const int64_t *first_reader, const int64_t *stride, const int64_t *first_source, int32_t *sources,
                 int32_t *readers, int threads);
int count_induced(const Lattice *l, const uint8_t *present, int64_t images, int64_t *nodes, int64_t *edges, int threads);
int fill_induced(const Lattice *l, const uint8_t *present, int64_t images, const int64_t *first_node,
                 const int64_t *first_edge, int64_t *node, int64_t *row, int64_t *image_of_node, int64_t *edge,
                 int64_t *source, int64_t *target, int threads);
int measure_cells(const Grid *g, const uint8_t *pixels, int64_t images, uint8_t *present, float *features, int threads);

/* For rows in single and in half precision. */
#define ROWS_FUNCTIONS(type, name)                                                                                      \
    int norm_relu_##name(const type *x, int64_t n, int64_t c, const float *weight, const float *bias, float eps,        \
                         type *y, float *mean, float *variance, int threads);                                           \
    int known_norm_relu_##name(const type *x, int64_t n, int64_t c, const float *weight, const float *bias,             \
                               const float *mean, const float *variance, float eps, type *y, int threads);              \
    int norm_relu_backward_##name(const type *grad, const type *x, int64_t n, int64_t c, const float *weight,           \
                                  const float *bias, const float *mean, const float *variance, float eps, type *grad_x, \
                                  float *grad_weight, float *grad_bias, int threads);                                   \
    void mean_and_max_##name(const type *x, const int64_t *first, int64_t graphs, int64_t c, float *out, int threads);  \
    int mean_and_max_backward_##name(const float *grad, const type *x, const float *out, const int64_t *first,          \
                                     int64_t graphs, int64_t c, type *grad_x, int threads);
ROWS_FUNCTIONS(float, single)
ROWS_FUNCTIONS(bf16, half)

#endif
