/* The subgraphs of a lattice that images induce. */
#include <stdlib.h>

#include "kernels.h"

/* The number of each lattice node among the kept ones of an image, or -1; how many are kept. */
static int64_t number_nodes(const Lattice *l, const uint8_t *present, int32_t *number) {
    int64_t count = 0;
    for (int64_t node = 0; node < l->nodes; node++) {
        int here = present[l->entity[node]] != 0;
        number[node] = here ? (int32_t)count : -1;
        count += here;
    }
    return count;
}

int count_induced(const Lattice *l, const uint8_t *present, int64_t images, int64_t *nodes, int64_t *edges, int threads) {
    int enough = 1;
#pragma omp parallel num_threads(threads) reduction(&& : enough)
    {
        int32_t *number = malloc(l->nodes * sizeof(int32_t));
        enough = number != NULL;
#pragma omp for
        for (int64_t image = 0; image < images; image++) {
            if (!number) continue;
            nodes[image] = number_nodes(l, present + image * l->entities, number);
            int64_t count = 0;
            for (int64_t edge = 0; edge < l->edges; edge++)
                count += (number[l->source[edge]] | number[l->target[edge]]) >= 0;
            edges[image] = count;
        }
        free(number);
    }
    return enough;
}

int fill_induced(const Lattice *l, const uint8_t *present, int64_t images, const int64_t *first_node,
                 const int64_t *first_edge, int64_t *node, int64_t *row, int64_t *image_of_node, int64_t *edge,
                 int64_t *source, int64_t *target, int threads) {
    int enough = 1;
#pragma omp parallel num_threads(threads) reduction(&& : enough)
    {
        int32_t *number = malloc((l->nodes + l->edges) * sizeof(int32_t)), *kept = number + l->nodes;
        enough = number != NULL;
#pragma omp for
        for (int64_t image = 0; image < images; image++) {
            if (!number) continue;
            number_nodes(l, present + image * l->entities, number);
            int64_t to = first_node[image], start = to;
            for (int64_t i = 0; i < l->nodes; i++)
                if (number[i] >= 0) {
                    node[to] = i;
                    row[to] = image * l->entities + l->entity[i];
                    image_of_node[to++] = image;
                }
            /* Which are kept cannot be foreseen: written without asking, advanced where it is. */
            int64_t count = 0;
            for (int64_t i = 0; i < l->edges; i++) {
                kept[count] = (int32_t)i;
                count += (number[l->source[i]] | number[l->target[i]]) >= 0;
            }
            to = first_edge[image];
            for (int64_t i = 0; i < count; i++) {
                edge[to + i] = kept[i];
                source[to + i] = start + number[l->source[kept[i]]];
                target[to + i] = start + number[l->target[kept[i]]];
            }
        }
        free(number);
    }
    return enough;
}
