// The kernels. They know neither PyTorch nor threads: each works on a range of blocks, and no result depends on how
// blocks are divided among threads. Sizes and pitches are in elements. register.cpp checks arguments; tables are
// checked when they are first read.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

// A pragma of GCC's selects the instruction set of each file; other compilers build only the baseline.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define GRAPHEME_X86
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

namespace grapheme {

ALWAYS_INLINE constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
ALWAYS_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// ---- Typed convolution: out[v] = sum over r of x[rows[v, r] - 1] weight[r], and the gradient of its weights

// An entry of a table is 0 if nothing is read, else the number of a row plus one.
struct Table {
    const int32_t *rows;  // [readers, relations]
    int64_t readers, relations, num_rows;
};

// Readers are processed in sections, whose number depends only on the sizes.
struct Sections {
    int64_t count, length;
};

// Sorts readers by the pattern of their relations, so that the readers of a tile lack the same ones.
struct Sorting {
    Table table;
    Sections sections;
    int64_t bits;       // of a pattern; there are 2^bits patterns
    uint16_t *pattern;  // [readers]
    int32_t *next;      // [sections, patterns], zero at first
    int32_t *order;     // [readers]
    int32_t *outside;   // [sections], an entry of the table that is out of range, or 0
};
int64_t pattern_bits(const Table &table);
void count_patterns(const Sorting &s, int64_t begin, int64_t end);  // sections
void place_patterns(const Sorting &s);
void order_readers(const Sorting &s, int64_t begin, int64_t end);  // sections

struct Edge {
    int32_t reader, row;
};

// Lists of the edges of each relation in each section.
struct EdgeLists {
    Table table;
    Sections sections;
    Edge *edges;       // [sections, relations, length]
    int64_t *counts;   // [sections, relations]
    int32_t *outside;  // [sections], as above
};
void list_edges(const EdgeLists &l, int64_t begin, int64_t end);  // sections

struct Weights {
    const void *weight;
    int64_t strides[3];
    int64_t relations, depth, columns;
    void *packed;
};

struct Product {
    const void *x, *packed, *zeros;  // rows; weights; a row of zeros
    const int32_t *rows, *order;
    void *out;
    int64_t readers, relations, depth, columns;
    int64_t pitch;  // from row to row of x
};

struct Outer {
    const void *x, *grad;
    const Edge *edges;
    const int64_t *counts;
    void *out;  // [sections, relations, depth, columns], zero at first
    Sections sections;
    int64_t relations, depth, columns;
    int64_t pitch, grad_pitch;
};

// Kernels for rows of one dtype.
struct Products {
    int64_t tile_columns, run_readers;                               // columns of a tile; readers of a run
    void (*pack)(const Weights &, int64_t begin, int64_t end);       // tiles times relations
    void (*multiply)(const Product &, int64_t begin, int64_t end);   // runs of readers
    int64_t (*outer_tasks)(const Outer &);                           // their number in a section
    void (*outer)(const Outer &, int64_t begin, int64_t end);        // sections times tasks
};

// ---- Rows of channels: batch normalisation with ReLU, and pooling

// Rows are summed within blocks of this many, and then the sums of blocks.
constexpr int64_t BLOCK = 256;

// Rows and results have the same dtype. Everything else is in double precision if they are, else in single precision.
struct Norm {
    int64_t rows, channels;
    double eps;
    const void *x, *grad;
    const void *weight, *bias;
    void *mean, *variance;
    void *parts;  // [blocks, 2, channels], zero at first
    void *terms;  // [4, channels]
    void *out;
    void *grad_weight, *grad_bias;
};

struct Pool {
    int64_t channels;
    const void *x;
    const int64_t *rows;   // or null: all rows in order
    const int64_t *first;  // [graphs + 1]
    const void *grad;      // gradient of the means and maxima
    void *pooled;          // [graphs, 2, channels], means and maxima
    void *shares;          // [graphs, channels]
    void *grad_x;
};

struct RowKernels {
    void (*norm_origin)(const Norm &);
    void (*norm_moments)(const Norm &, int64_t begin, int64_t end);  // blocks
    void (*norm_statistics)(const Norm &);
    void (*norm_scale)(const Norm &);
    void (*norm_apply)(const Norm &, int64_t begin, int64_t end);     // blocks
    void (*norm_products)(const Norm &, int64_t begin, int64_t end);  // blocks
    void (*norm_sums)(const Norm &);
    void (*norm_gradient)(const Norm &, int64_t begin, int64_t end);  // blocks
    void (*pool)(const Pool &, int64_t begin, int64_t end);           // graphs
    void (*pool_backward)(const Pool &, int64_t begin, int64_t end);  // graphs
};

struct Warp {
    int64_t channels, height, width, points;
    const int64_t *sizes;   // [images, 2], height and width of each
    const float *affine;    // [images, 2, 3]
    const float *moves;     // [images, 2, points, points]
    const float *down;      // [images, height, points]
    const float *across;    // [images, points, width]
    const uint8_t *pixels;  // [images, channels, height, width]
    float *buffers;         // [images, 3, width]
    uint8_t *out;           // [images, channels, height, width], zero at first
};

// Stored rows in a block.
constexpr int64_t HALF_ROWS = 4;

struct HalfProducts {
    int64_t rows, stored, width;
    const float *x;    // [rows, width]
    const void *half;  // [stored, width]
    float *out;        // [rows, stored], zero at first
};

struct Kernels {
    Products float32, float64;
    RowKernels rows_float32, rows_float64, rows_bfloat16, rows_float16;
    void (*warp)(const Warp &, int64_t begin, int64_t end);                   // images
    void (*half_products)(const HalfProducts &, int64_t begin, int64_t end);  // blocks
};

// Returns the kernels for the best instructions that this CPU has and GRAPHEME_CPU allows: baseline, avx2 or avx512.
const Kernels &kernels();
// Returns the kernels that multiply pairs of bfloat16; null if the CPU lacks the instructions.
const Products *bfloat16_products();

// ---- The plan of a sweep; ops/plan.py defines the terms

struct PlanNode {
    int32_t generation, row, graph;
};

struct PlanGeneration {
    int64_t level, nodes;
    int32_t type, place;         // among the generations of its type
    int32_t start, first_block;  // first of its rows among those of its type; first of its candidates
};

// An edge type.
struct PlanKind {
    int32_t source, target;        // node types
    int32_t pair, place;           // pair of node types; its place among the pairs into the target
    int32_t relation, relations;   // number among the relations of the pair; their number
};

// A candidate is a block that a generation can have: one for each pair of node types into its type.
struct PlanEdge {
    int32_t block;       // number of the candidate
    int32_t slot;        // slot in the block
    int32_t source;      // row among all rows of the source's type
    int32_t generation;  // generation of the source among those of its type
};

struct PlanScan {
    int32_t edges, low, high;  // number of edges; lowest and highest place of their sources' generations
};

struct PlanTarget {
    int64_t first_slot;
    int32_t first_source, number;  // number of the block, -1 if it is not kept
};

struct PlanBlock {
    int64_t generation, pair, lowest, highest;
    int64_t edges, filled, segments;  // segments is -1 if the block is not listed
    int64_t relations, targets, sources;
    int64_t first_source;  // first of its sources among all rows of their type
    int64_t first_slot, first_reader, first_number, first_edge, first_listed, first_segment;
    bool has_readers;
};

// A run of targets of a block.
struct PlanRun {
    int64_t block, begin, end, filled;
};

struct Planning {
    const int64_t *source, *target, *type;  // [edges]
    const PlanKind *kinds;                  // [edge_types]
    int64_t edges, nodes, edge_types, candidates, chunks;
    const PlanNode *node;
    const PlanGeneration *generations;
    bool *is_sink;
    PlanEdge *edge;    // [edges]
    PlanScan *scanned;  // [chunks, candidates]
    int64_t *wrong;    // [chunks], an invalid edge, or -1
    const PlanTarget *targets;  // [candidates]
    PlanBlock *blocks;
    PlanRun *runs;
    int32_t *rows, *readers, *edge_numbers, *sources, *first, *next;
    int64_t *segment;
    const int32_t *by_block;  // edges of listed blocks, block by block
};
void scan_edges(const Planning &p, int64_t begin, int64_t end);     // chunks
void fill_rows(const Planning &p, int64_t begin, int64_t end);      // edges
void count_rows(const Planning &p, int64_t begin, int64_t end);     // runs
void reverse_rows(const Planning &p, int64_t begin, int64_t end);   // runs
void number_edges(const Planning &p, int64_t begin, int64_t end);   // edges
void list_edges_of(const Planning &p, int64_t begin, int64_t end);  // blocks
void count_readers(const Planning &p, int64_t begin, int64_t end);  // blocks

// ---- Images

struct Grid {
    int64_t channels, height, width;
    int64_t patch, margin, threshold;
    int64_t cells, features;  // cells include one for the whole image
    const int64_t *grids;     // [levels, 2], rows and columns
    const int64_t *sizes;     // [images, 3], height, width and levels of each
    const uint8_t *pixels;    // [images, channels, height, width]
    bool *present;            // [images, cells]
    float *out;               // [images, cells, features], zero at first
};
bool measure_images(const Grid &g, int64_t begin, int64_t end);  // images; false without memory

struct Ground {
    int64_t height, width;
    float least_contrast, cut;
    const int64_t *sizes;   // [images, 4], height, width, frame and brightest of each
    const uint8_t *pixels;  // [images, height, width]
    uint8_t *out;           // [images, height, width]
};
bool relate_to_ground(const Ground &g, int64_t begin, int64_t end);  // images; false without memory

struct Superpixels {
    int64_t channels, height, width;
    double compactness;
    const float *values;         // [images, channels, height, width]
    const bool *active;          // [images, height, width]
    const int64_t *num_regions;  // [images]
    int64_t *labels;             // [images, height, width]
};
bool cut_into_superpixels(const Superpixels &s, int64_t begin, int64_t end);  // images; false without memory

struct Lattice {
    int64_t nodes, edges, entities;
    const int32_t *entity;           // [nodes]
    const int32_t *source, *target;  // [edges]
    const bool *present;             // [images, entities]
    int64_t *num_nodes, *num_edges;  // [images]
    const int64_t *first_node, *first_edge;
    int64_t *node, *row, *graph, *edge, *new_source, *new_target;
};
bool count_induced(const Lattice &l, int64_t begin, int64_t end);  // images; false without memory
bool fill_induced(const Lattice &l, int64_t begin, int64_t end);   // images; false without memory

}  // namespace grapheme
