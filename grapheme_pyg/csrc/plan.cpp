// Planning: validates edges and turns them into tables of neighbours; see ops/plan.py.
#include "kernels.h"

namespace grapheme {

namespace {

ALWAYS_INLINE bool within(int64_t value, int64_t size) {
    return static_cast<uint64_t>(value) < static_cast<uint64_t>(size);
}

// Several threads may write to the same place: either the same value, or different edges of one slot, which are listed
// again later.
template <class T>
ALWAYS_INLINE void store(T *place, T value) {
    __atomic_store_n(place, value, __ATOMIC_RELAXED);
}

// Returns the place of an edge; the block is negative if the edge is invalid.
ALWAYS_INLINE PlanEdge place_of(const Planning &p, int64_t source, int64_t target, int64_t type) {
    const PlanEdge none = {-1, 0, 0, 0};
    if (!(within(source, p.nodes) & within(target, p.nodes) & within(type, p.edge_types))) return none;
    const PlanNode from = p.node[source], to = p.node[target];
    const PlanGeneration &here = p.generations[from.generation], &there = p.generations[to.generation];
    const PlanKind kind = p.kinds[type];
    const bool is_edge = (here.type == kind.source) & (there.type == kind.target) & (here.level < there.level) &
                         (from.graph == to.graph);
    if (!is_edge) return none;
    return {there.first_block + kind.place, to.row * kind.relations + kind.relation, here.start + from.row, here.place};
}

int64_t count_filled(const int32_t *table, int64_t size) {
    int64_t count = 0;
    for (int64_t i = 0; i < size; i++) count += table[i] != 0;
    return count;
}

void fill_readers(int64_t relations, int64_t first_target, int64_t last_target, const int32_t *__restrict rows,
                  int32_t *readers) {
    rows += first_target * relations;
    for (int64_t target = first_target; target < last_target; target++)
        for (int64_t relation = 0; relation < relations; relation++)
            if (const int32_t row = *rows++)
                store(readers + (row - 1) * relations + relation, static_cast<int32_t>(target + 1));
}

}  // namespace

// A copy of the arguments tells compilers that no write changes them.
void scan_edges(const Planning &arguments, int64_t begin, int64_t end) {
    const Planning p = arguments;
    for (int64_t chunk = begin; chunk < end; chunk++) {
        PlanScan *found = p.scanned + chunk * p.candidates;
        for (int64_t block = 0; block < p.candidates; block++) found[block] = {0, INT32_MAX, -1};
        p.wrong[chunk] = -1;
        // Consecutive edges often have the same block, whose counts then stay in registers.
        int32_t current = -1;
        PlanScan own = {0, INT32_MAX, -1};
        const int64_t last = (chunk + 1) * p.edges / p.chunks;
        for (int64_t edge = chunk * p.edges / p.chunks; edge < last; edge++) {
            const PlanEdge place = place_of(p, p.source[edge], p.target[edge], p.type[edge]);
            if (place.block < 0) {
                p.wrong[chunk] = edge;
                break;
            }
            if (place.block != current) {
                if (current >= 0) found[current] = own;
                current = place.block;
                own = found[current];
            }
            p.edge[edge] = place;
            store(p.is_sink + p.source[edge], false);
            own.edges++;
            own.low = place.generation < own.low ? place.generation : own.low;
            own.high = place.generation > own.high ? place.generation : own.high;
        }
        if (current >= 0) found[current] = own;
    }
}

void fill_rows(const Planning &arguments, int64_t begin, int64_t end) {
    const Planning p = arguments;
    for (int64_t i = begin; i < end; i++) {
        const PlanEdge edge = p.edge[i];
        const PlanTarget to = p.targets[edge.block];
        store(p.rows + to.first_slot + edge.slot, edge.source - to.first_source + 1);
    }
}

void count_rows(const Planning &p, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
        PlanRun &run = p.runs[i];
        const PlanBlock &block = p.blocks[run.block];
        const int64_t first = block.first_slot + run.begin * block.relations;
        run.filled = count_filled(p.rows + first, (run.end - run.begin) * block.relations);
    }
}

void reverse_rows(const Planning &p, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
        const PlanRun &run = p.runs[i];
        const PlanBlock &block = p.blocks[run.block];
        fill_readers(block.relations, run.begin, run.end, p.rows + block.first_slot, p.readers + block.first_reader);
    }
}

void number_edges(const Planning &arguments, int64_t begin, int64_t end) {
    const Planning p = arguments;
    for (int64_t i = begin; i < end; i++) {
        const PlanEdge edge = p.edge[i];
        const PlanBlock &block = p.blocks[p.targets[edge.block].number];
        if (block.segments < 0) store(p.edge_numbers + block.first_number + edge.slot, static_cast<int32_t>(i + 1));
    }
}

void count_readers(const Planning &p, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
        PlanBlock &block = p.blocks[i];
        const int64_t size = (block.segments < 0 ? block.sources : block.segments) * block.relations;
        block.has_readers = count_filled(p.readers + block.first_reader, size) == block.filled;
    }
}

// A stable counting sort of edges by slot.
void list_edges_of(const Planning &p, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
        PlanBlock &block = p.blocks[i];
        if (block.segments < 0) continue;
        const int32_t *edges = p.by_block + block.first_edge;
        const int64_t num_slots = block.targets * block.relations;
        int32_t *rows = p.rows + block.first_slot, *next = p.next + block.first_slot;
        memset(next, 0, num_slots * sizeof(int32_t));
        for (int64_t k = 0; k < block.edges; k++) next[p.edge[edges[k]].slot]++;
        int32_t total = 0, segment = 0;
        for (int64_t slot = 0; slot < num_slots; slot++) {
            const int32_t count = next[slot];
            next[slot] = total;
            rows[slot] = 0;
            if (!count) continue;
            p.first[block.first_segment + segment] = total;
            for (int32_t k = 0; k < count; k++) p.segment[block.first_listed + total + k] = segment;
            total += count;
            rows[slot] = ++segment;
        }
        for (int64_t k = 0; k < block.edges; k++) {
            const PlanEdge edge = p.edge[edges[k]];
            const int32_t to = next[edge.slot]++;
            p.sources[block.first_listed + to] = edge.source - static_cast<int32_t>(block.first_source);
            if (p.edge_numbers) p.edge_numbers[block.first_number + to] = edges[k];
        }
    }
}

}  // namespace grapheme
