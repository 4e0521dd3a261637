// The sequential parts of planning, over nodes and blocks.
#pragma once

#include <vector>

#include "kernels.h"

namespace grapheme {

// Levels are smaller, so that a level and a node type together fit into 64 bits.
constexpr int64_t LEVELS = int64_t{1} << 31;

struct NodeFields {
    int64_t nodes, num_types, num_graphs;
    const int64_t *type, *level, *graph;  // graph may be null
};
// Returns the first node that is out of range, or whose graph is lower than that of the previous node; else -1.
int64_t find_wrong_node(const NodeFields &fields);

struct SortedNodes {
    std::vector<PlanGeneration> generations;
    std::vector<PlanNode> node;
};
// Finds the generations of nodes and of expected keys (level times number of types, plus type); fills `order`,
// `generation` and `row`, each [nodes].
SortedNodes sort_nodes(const NodeFields &fields, const std::vector<int64_t> &expected, int64_t *order,
                       int64_t *generation, int64_t *row);

// Returns one kind of each pair into each node type, and sets `place` of all kinds.
std::vector<std::vector<PlanKind>> pairs_into(std::vector<PlanKind> &kinds, int64_t num_types);

// Adds up the results of all chunks in the first one; returns the first invalid edge, or -1.
int64_t add_up_chunks(std::vector<PlanScan> &scanned, const std::vector<int64_t> &wrong, int64_t candidates);

// Returns the blocks that have edges, or all possible ones, with their places in the table of rows; fills `targets`.
std::vector<PlanBlock> kept_blocks(const std::vector<PlanGeneration> &generations,
                                   const std::vector<std::vector<PlanKind>> &into, const std::vector<PlanScan> &scanned,
                                   bool all, std::vector<PlanTarget> &targets);

std::vector<PlanRun> runs_of(const std::vector<PlanBlock> &blocks, int64_t length);

}  // namespace grapheme
