#include "planning.h"

#include <algorithm>

namespace grapheme {

namespace {

// Keys are looked up in a table unless they exceed this times the number of nodes.
constexpr int64_t TABLE = 4;

// Returns the distinct keys of nodes and of expected generations, ascending.
std::vector<int64_t> sorted_keys(const std::vector<int64_t> &key, const std::vector<int64_t> &expected) {
    int64_t last = -1;
    for (int64_t one : key) last = one > last ? one : last;
    std::vector<int64_t> keys = expected;
    if (last < TABLE * static_cast<int64_t>(key.size())) {
        std::vector<char> is_there(last + 1);
        for (int64_t one : key) is_there[one] = true;
        for (int64_t one = 0; one <= last; one++)
            if (is_there[one]) keys.push_back(one);
    } else {
        keys.insert(keys.end(), key.begin(), key.end());
    }
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    return keys;
}

}  // namespace

int64_t find_wrong_node(const NodeFields &f) {
    int64_t before = 0;
    for (int64_t i = 0; i < f.nodes; i++) {
        bool good = 0 <= f.type[i] && f.type[i] < f.num_types && 0 <= f.level[i] && f.level[i] < LEVELS;
        if (f.graph) {
            good &= before <= f.graph[i] && f.graph[i] < f.num_graphs;
            before = f.graph[i];
        }
        if (!good) return i;
    }
    return -1;
}

SortedNodes sort_nodes(const NodeFields &f, const std::vector<int64_t> &expected, int64_t *__restrict order,
                       int64_t *__restrict generation, int64_t *__restrict row) {
    SortedNodes sorted;
    std::vector<PlanGeneration> &generations = sorted.generations;
    std::vector<int64_t> key(f.nodes);
    for (int64_t i = 0; i < f.nodes; i++) key[i] = f.level[i] * f.num_types + f.type[i];
    const std::vector<int64_t> keys = sorted_keys(key, expected);
    for (int64_t one : keys)
        generations.push_back({one / f.num_types, 0, static_cast<int32_t>(one % f.num_types), 0, 0, 0});
    std::vector<int32_t> number(!keys.empty() && keys.back() < TABLE * f.nodes ? keys.back() + 1 : 0);
    for (size_t i = 0; i < keys.size() && !number.empty(); i++) number[keys[i]] = static_cast<int32_t>(i);
    sorted.node.resize(f.nodes);
    int32_t graph = 0;
    for (int64_t i = 0; i < f.nodes; i++) {
        const int64_t own = number.empty() ? std::lower_bound(keys.begin(), keys.end(), key[i]) - keys.begin()
                                           : number[key[i]];
        generation[i] = own;
        row[i] = generations[own].nodes++;
        graph += f.graph && i && f.graph[i] != f.graph[i - 1];
        sorted.node[i] = {static_cast<int32_t>(own), static_cast<int32_t>(row[i]), graph};
    }
    std::vector<int32_t> places(f.num_types), starts(f.num_types);
    std::vector<int64_t> first;
    int64_t total = 0;
    for (PlanGeneration &one : generations) {
        first.push_back(total);
        total += one.nodes;
        one.place = places[one.type]++;
        one.start = starts[one.type];
        starts[one.type] += static_cast<int32_t>(one.nodes);
    }
    for (int64_t i = 0; i < f.nodes; i++) order[first[generation[i]] + row[i]] = i;
    return sorted;
}

std::vector<std::vector<PlanKind>> pairs_into(std::vector<PlanKind> &kinds, int64_t num_types) {
    std::vector<std::vector<PlanKind>> into(num_types);
    std::vector<int32_t> place(kinds.size(), -1);
    for (PlanKind &kind : kinds) {
        std::vector<PlanKind> &pairs = into[kind.target];
        const bool is_new = place[kind.pair] < 0;
        if (is_new) place[kind.pair] = static_cast<int32_t>(pairs.size());
        kind.place = place[kind.pair];
        if (is_new) pairs.push_back(kind);
    }
    return into;
}

int64_t add_up_chunks(std::vector<PlanScan> &scanned, const std::vector<int64_t> &wrong, int64_t candidates) {
    for (size_t chunk = 0; chunk < wrong.size(); chunk++) {
        if (wrong[chunk] >= 0) return wrong[chunk];
        for (int64_t i = 0; chunk && i < candidates; i++) {
            const PlanScan &found = scanned[chunk * candidates + i];
            scanned[i] = {scanned[i].edges + found.edges, std::min(scanned[i].low, found.low),
                          std::max(scanned[i].high, found.high)};
        }
    }
    return -1;
}

std::vector<PlanBlock> kept_blocks(const std::vector<PlanGeneration> &generations,
                                   const std::vector<std::vector<PlanKind>> &into, const std::vector<PlanScan> &scanned,
                                   bool all, std::vector<PlanTarget> &targets) {
    std::vector<std::vector<int64_t>> of_type(into.size());
    int64_t first_slot = 0;
    std::vector<PlanBlock> blocks;
    for (size_t target = 0; target < generations.size(); target++) {
        const PlanGeneration &own = generations[target];
        of_type[own.type].push_back(target);
        // Only lower levels: a generation does not read others of its level.
        const auto last_before = [&](const std::vector<int64_t> &some) {
            int32_t last = static_cast<int32_t>(some.size()) - 1;
            while (last >= 0 && generations[some[last]].level >= own.level) last--;
            return last;
        };
        for (const PlanKind &kind : into[own.type]) {
            PlanScan found = scanned[targets.size()];
            targets.push_back({0, 0, -1});
            const std::vector<int64_t> &sources = of_type[kind.source];
            if (!found.edges) found.low = found.high = last_before(sources);
            if (found.high < 0 || (!found.edges && !all)) continue;
            PlanBlock block = {};
            block.generation = target;
            block.pair = kind.pair;
            block.lowest = sources[found.low];
            block.highest = sources[found.high];
            block.edges = found.edges;
            block.segments = -1;
            block.relations = kind.relations;
            block.targets = own.nodes;
            block.first_source = generations[block.lowest].start;
            const PlanGeneration &highest = generations[block.highest];
            block.sources = highest.start + highest.nodes - block.first_source;
            block.first_slot = first_slot;
            first_slot += block.targets * block.relations;
            targets.back() = {block.first_slot, static_cast<int32_t>(block.first_source),
                              static_cast<int32_t>(blocks.size())};
            blocks.push_back(block);
        }
    }
    return blocks;
}

std::vector<PlanRun> runs_of(const std::vector<PlanBlock> &blocks, int64_t length) {
    std::vector<PlanRun> runs;
    for (size_t i = 0; i < blocks.size(); i++)
        for (int64_t begin = 0; begin < blocks[i].targets; begin += length)
            runs.push_back({static_cast<int64_t>(i), begin, smaller(begin + length, blocks[i].targets), 0});
    return runs;
}

}  // namespace grapheme
