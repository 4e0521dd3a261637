// Finds the subgraphs of a lattice that images induce.
#include "kernels.h"
#include "memory.h"

namespace grapheme {

namespace {

// Numbers the lattice nodes that an image keeps, -1 for others; returns how many are kept.
int64_t number_nodes(const Lattice &l, int64_t image, int32_t *__restrict number) {
    const bool *present = l.present + image * l.entities;
    int32_t count = 0;
    for (int64_t node = 0; node < l.nodes; node++) {
        const bool here = present[l.entity[node]];
        number[node] = here ? count : -1;
        count += here;
    }
    return count;
}

ALWAYS_INLINE bool kept(const Lattice &l, const int32_t *number, int64_t edge) {
    return (number[l.source[edge]] | number[l.target[edge]]) >= 0;
}

void fill_nodes(const Lattice &l, int64_t image, const int32_t *number) {
    int64_t to = l.first_node[image];
    for (int64_t i = 0; i < l.nodes; i++)
        if (number[i] >= 0) {
            l.node[to] = i;
            l.row[to] = image * l.entities + l.entity[i];
            l.graph[to++] = image;
        }
}

// Branches would be mispredicted, so every edge is written, and the position advances only if it is kept.
void fill_edges(const Lattice &l, int64_t image, const int32_t *__restrict number, int32_t *__restrict list) {
    int64_t count = 0;
    for (int64_t i = 0; i < l.edges; i++) {
        list[count] = static_cast<int32_t>(i);
        count += kept(l, number, i);
    }
    const int64_t to = l.first_edge[image], start = l.first_node[image];
    for (int64_t i = 0; i < count; i++) {
        l.edge[to + i] = list[i];
        l.new_source[to + i] = start + number[l.source[list[i]]];
        l.new_target[to + i] = start + number[l.target[list[i]]];
    }
}

}  // namespace

bool count_induced(const Lattice &l, int64_t begin, int64_t end) {
    const Array<int32_t> number(l.nodes);
    if (!number) return false;
    for (int64_t image = begin; image < end; image++) {
        l.num_nodes[image] = number_nodes(l, image, number.get());
        int64_t count = 0;
        for (int64_t edge = 0; edge < l.edges; edge++) count += kept(l, number.get(), edge);
        l.num_edges[image] = count;
    }
    return true;
}

bool fill_induced(const Lattice &l, int64_t begin, int64_t end) {
    const Array<int32_t> array(l.nodes + l.edges);
    if (!array) return false;
    int32_t *number = array.get();
    for (int64_t image = begin; image < end; image++) {
        number_nodes(l, image, number);
        fill_nodes(l, image, number);
        fill_edges(l, image, number, number + l.nodes);
    }
    return true;
}

}  // namespace grapheme
