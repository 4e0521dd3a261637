// Sorts and lists the entries of tables of neighbours, and checks them.
#include "kernels.h"

namespace grapheme {

namespace {

constexpr int64_t MOST_BITS = 12;

// Returns the place of a pattern in Gray code, in which neighbours differ by one bit.
ALWAYS_INLINE uint32_t place_of(uint32_t pattern) {
    pattern ^= pattern >> 1;
    pattern ^= pattern >> 2;
    pattern ^= pattern >> 4;
    return pattern ^ pattern >> 8;
}

ALWAYS_INLINE bool is_outside(int32_t row, const Table &table) {
    return static_cast<uint32_t>(row) > static_cast<uint32_t>(table.num_rows);
}

}  // namespace

// If there are more relations than bits, several share a bit. Few readers need few patterns.
int64_t pattern_bits(const Table &table) {
    int64_t bits = 1;
    while (bits < MOST_BITS && bits < table.relations && table.readers >> bits) bits++;
    return bits;
}

void count_patterns(const Sorting &s, int64_t begin, int64_t end) {
    const int64_t relations = s.table.relations;
    for (int64_t section = begin; section < end; section++) {
        int32_t *count = s.next + (section << s.bits), outside = 0;
        const int64_t last = smaller((section + 1) * s.sections.length, s.table.readers);
        for (int64_t reader = section * s.sections.length; reader < last; reader++) {
            const int32_t *rows = s.table.rows + reader * relations;
            uint32_t pattern = 0;
            for (int64_t start = 0; start < relations; start += s.bits)
                for (int64_t bit = 0; bit < s.bits && start + bit < relations; bit++) {
                    const int32_t row = rows[start + bit];
                    pattern |= static_cast<uint32_t>(row != 0) << bit;
                    outside = is_outside(row, s.table) ? row : outside;
                }
            pattern = place_of(pattern);
            s.pattern[reader] = static_cast<uint16_t>(pattern);
            count[pattern]++;
        }
        s.outside[section] = outside;
    }
}

void place_patterns(const Sorting &s) {
    int32_t total = 0;
    for (int64_t pattern = 0; pattern < 1 << s.bits; pattern++)
        for (int64_t section = 0; section < s.sections.count; section++) {
            int32_t *place = s.next + (section << s.bits) + pattern, count = *place;
            *place = total;
            total += count;
        }
}

void order_readers(const Sorting &s, int64_t begin, int64_t end) {
    for (int64_t section = begin; section < end; section++) {
        int32_t *next = s.next + (section << s.bits);
        const int64_t last = smaller((section + 1) * s.sections.length, s.table.readers);
        for (int64_t reader = section * s.sections.length; reader < last; reader++)
            s.order[next[s.pattern[reader]]++] = static_cast<int32_t>(reader);
    }
}

void list_edges(const EdgeLists &l, int64_t begin, int64_t end) {
    const int64_t relations = l.table.relations, length = l.sections.length;
    for (int64_t section = begin; section < end; section++) {
        int64_t *count = l.counts + section * relations;
        Edge *own = l.edges + section * relations * length;
        int32_t outside = 0;
        for (int64_t relation = 0; relation < relations; relation++) count[relation] = 0;
        const int64_t last = smaller((section + 1) * length, l.table.readers);
        for (int64_t reader = section * length; reader < last; reader++)
            for (int64_t relation = 0; relation < relations; relation++) {
                const int32_t row = l.table.rows[reader * relations + relation];
                outside = is_outside(row, l.table) ? row : outside;
                // Branches would be mispredicted: every entry is written, and the position advances if it is an edge.
                own[relation * length + count[relation]] = {static_cast<int32_t>(reader),
                                                            static_cast<int32_t>(static_cast<uint32_t>(row) - 1)};
                count[relation] += row != 0;
            }
        l.outside[section] = outside;
    }
}

}  // namespace grapheme
