/* The plan of a sweep: what it must know of every edge. */
#include <stdlib.h>

#include "kernels.h"

/* The kind of each edge: its type, and the groups at its ends; and how many there are of each kind. */
void count_kinds(const Edges *e, const int64_t *group, int64_t groups, int64_t types, int64_t *kind, int64_t *counts,
                 int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < e->edges; i++)
        kind[i] = (group[e->source[i]] * groups + group[e->target[i]]) * types + e->type[i];
    for (int64_t i = 0; i < e->edges; i++) counts[kind[i]]++;
}

/* Each edge into the table of its target's sources, and into that of its source's readers. A kind says where: in both
 * tables the place of its relation in its block's first row, and rows apart; and the row of its first source. */
void fill_tables(const Edges *e, const int64_t *kind, const int64_t *row, const int64_t *first_slot,
                 const int64_t *first_reader, const int64_t *stride, const int64_t *first_source, int32_t *sources,
                 int32_t *readers, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t i = 0; i < e->edges; i++) {
        int64_t k = kind[i], target = row[e->target[i]], source = row[e->source[i]] + first_source[k];
        sources[first_slot[k] + target * stride[k]] = (int32_t)(source + 1);
        readers[first_reader[k] + source * stride[k]] = (int32_t)(target + 1);
    }
}

/* Nodes by key, in their order; the number of each node's key among those that occur, its row among the nodes of that
 * key, and their count. A counting sort. */
int64_t group_nodes(const int64_t *key, int64_t nodes, int64_t keys, int64_t *counts, int64_t *order, int64_t *group,
                    int64_t *row) {
    int64_t *next = malloc(2 * keys * sizeof(int64_t)), *number = next + keys;
    if (!next) return -1;
    for (int64_t i = 0; i < nodes; i++) counts[key[i]]++;
    int64_t first = 0, groups = 0;
    for (int64_t k = 0; k < keys; k++) {
        number[k] = groups;
        groups += counts[k] > 0;
        next[k] = first;
        first += counts[k];
    }
    for (int64_t i = 0; i < nodes; i++) {
        int64_t k = key[i], place = next[k]++;
        order[place] = i;
        group[i] = number[k];
        row[i] = place; /* in the order of all nodes; made relative below */
    }
    for (int64_t i = 0; i < nodes; i++) row[i] -= next[key[i]] - counts[key[i]];
    free(next);
    return groups;
}
