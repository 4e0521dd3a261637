/* Which nodes a readout pools, and for which graph. */
#include <stdlib.h>

#include "kernels.h"

/* Nodes of the types that are read, and those without outgoing edges: kind by kind, in their order; and how many there are
 * of each kind. Returns whether sources and types are in range. */
int64_t choose_nodes(const Choice *c, int64_t *order, int64_t *counts, int threads) {
    uint8_t *heard = calloc(c->nodes + 1, 1);
    int64_t *next = malloc((c->kinds + 1) * sizeof(int64_t));
    int64_t good = heard && next ? 1 : -1;
    if (good > 0) {
#pragma omp parallel for schedule(static) num_threads(threads) reduction(&& : good)
        for (int64_t i = 0; i < c->edges; i++) {
            int in_range = (uint64_t)c->source[i] < (uint64_t)c->nodes;
            good = good && in_range;
            /* Threads may write the same byte, and write the same into it. */
            __atomic_store_n(heard + (in_range ? c->source[i] : c->nodes), 1, __ATOMIC_RELAXED);
        }
        for (int64_t i = 0; good && i < c->nodes; i++) good = (uint64_t)c->type[i] < (uint64_t)c->types;
    }
    if (good > 0) {
        for (int64_t i = 0; i < c->nodes; i++)
            if (!heard[i] || c->read[c->type[i]]) counts[c->kind[c->type[i]]]++;
        next[0] = 0;
        for (int64_t kind = 0; kind < c->kinds; kind++) next[kind + 1] = next[kind] + counts[kind];
        for (int64_t i = 0; i < c->nodes; i++)
            if (!heard[i] || c->read[c->type[i]]) order[next[c->kind[c->type[i]]]++] = i;
    }
    free(next);
    free(heard);
    return good;
}

/* Where the nodes of each graph start, and the number of nodes. Returns whether graphs ascend and are in range. */
int find_runs(const int64_t *graph, int64_t nodes, int64_t graphs, int64_t *first) {
    int64_t last = -1;
    for (int64_t i = 0; i < nodes; i++) {
        if (graph[i] < last || graph[i] < 0 || graph[i] >= graphs) return 0;
        while (last < graph[i]) first[++last] = i;
    }
    while (last < graphs) first[++last] = nodes;
    return 1;
}
