/* Whether a graph is what the other kernels may trust. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

static inline int within(int64_t value, int64_t size) { return (uint64_t)value < (uint64_t)size; }

static int bits_of(int64_t size) {
    int bits = 0;
    while (bits < 63 && ((int64_t)1 << bits) < size) bits++;
    return bits;
}

/* Whether types, levels and graphs of nodes are in range, and graphs ascend; ends and types of edges are in range, and
 * every edge rises, joins the node types that its type joins and stays in its graph. 1 if so; 0 if not, or if there are
 * too many graphs, levels and types for 32 bits to hold one of each; −1 without memory.
 *
 * A node is one such number, so that most of them stay in the cache: graph, level, type, from its highest bit on. */
int check_graph(const Edges *e, const Typed *n, const int64_t *ends, int64_t types, int threads) {
    /* Of negative ones too, every bit of which is looked at. */
    uint64_t all = 0;
    for (int64_t i = 0; i < n->nodes; i++) all |= (uint64_t)n->level[i];
    int64_t highest = (int64_t)(all & INT64_MAX);
    if (all > INT32_MAX || !within(highest, n->levels)) return 0;
    int type_bits = bits_of(n->types), level_bits = bits_of(highest + 1);
    if (type_bits + level_bits + bits_of(n->graphs) > 31) return 0;
    uint32_t *nodes = malloc((n->nodes + 1) * sizeof(uint32_t));
    uint64_t *joined = malloc((types + 1) * sizeof(uint64_t));
    int good = nodes && joined ? 1 : -1;
    if (good > 0) {
        int bad = 0;
        for (int64_t i = 0; i < n->nodes; i++) {
            int64_t graph = n->graph ? n->graph[i] : 0, before = n->graph && i ? n->graph[i - 1] : 0;
            bad |= !within(n->type[i], n->types) | !within(graph, n->graphs) | (graph < before);
            nodes[i] = (uint32_t)(((uint64_t)graph << level_bits | (uint64_t)n->level[i]) << type_bits | (uint64_t)n->type[i]);
        }
        for (int64_t k = 0; k < types; k++) joined[k] = (uint64_t)ends[k] << 32 | (uint64_t)ends[types + k];
        uint32_t type_of = ((uint32_t)1 << type_bits) - 1;
        int shift = type_bits + level_bits;
#pragma omp parallel for schedule(static) num_threads(threads) reduction(| : bad)
        for (int64_t i = 0; i < e->edges; i++) {
            int64_t source = e->source[i], target = e->target[i], type = e->type[i];
            if (!(within(source, n->nodes) & within(target, n->nodes) & within(type, types))) {
                bad = 1;
                continue;
            }
            uint32_t from = nodes[source], to = nodes[target];
            uint64_t ends_of = (uint64_t)(from & type_of) << 32 | (to & type_of);
            bad |= ((from ^ to) >> shift != 0) | (from >> type_bits >= to >> type_bits) | (ends_of != joined[type]);
        }
        good = !bad;
    }
    free(joined);
    free(nodes);
    return good;
}

/* Whether all numbers are finite: the exponents of others are all ones. */
int all_finite(const float *x, int64_t count, int threads) {
    int bad = 0;
#pragma omp parallel for simd schedule(static) num_threads(threads) reduction(| : bad)
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}
