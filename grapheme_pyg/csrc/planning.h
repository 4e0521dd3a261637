// What planning decides before edges are gone through in threads: small work, in the order of nodes and blocks.
#pragma once

#include <vector>

#include "kernels.h"

namespace grapheme {

// Levels are below this: a level and a node type together must be a number that 64 bits hold.
constexpr int64_t LEVELS = int64_t{1} << 31;

struct NodeFields {
    int64_t nodes, num_types, num_graphs;
    const int64_t *type, *level, *graph;  // graph may be null
};
// The first node that is out of range, or whose graph is lower than the one before; -1 if there is none.
int64_t find_wrong_node(const NodeFields &fields);

struct SortedNodes {
    std::vector<PlanGeneration> generations;
    std::vector<PlanNode> node;
};
// Generations of nodes, and of the keys (level times number of types, plus type) that are expected; fills `order`,
// `generation` and `row`, [nodes] each.
SortedNodes sort_nodes(const NodeFields &fields, const std::vector<int64_t> &expected, int64_t *order,
                       int64_t *generation, int64_t *row);

// For each node type the pairs that end in it, one kind of each; numbers `place` of all kinds.
std::vector<std::vector<PlanKind>> pairs_into(std::vector<PlanKind> &kinds, int64_t num_types);

// Sums of what the threads found, in the first chunk; the first edge that is none, or -1.
int64_t add_up_chunks(std::vector<PlanScan> &scanned, const std::vector<int64_t> &wrong, int64_t candidates);

// Blocks that have edges, or all that can be, with their places in the table of rows; what is kept of each candidate.
std::vector<PlanBlock> kept_blocks(const std::vector<PlanGeneration> &generations,
                                   const std::vector<std::vector<PlanKind>> &into, const std::vector<PlanScan> &scanned,
                                   bool all, std::vector<PlanTarget> &targets);

std::vector<PlanRun> runs_of(const std::vector<PlanBlock> &blocks, int64_t length);

}  // namespace grapheme
