// Products of the kernels that this processor runs, against loops; prints the largest error. Built by test_arm.py.
#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#include "../../grapheme_pyg/csrc/kernels.h"

using namespace grapheme;

namespace {

std::mt19937 random_bits(0);

template <class T>
std::vector<T> random_values(int64_t count) {
    std::normal_distribution<double> normal;
    std::vector<T> values(count);
    for (T &value : values) value = static_cast<T>(normal(random_bits));
    return values;
}

template <class T>
double largest_error(const std::vector<T> &came, const std::vector<double> &expected) {
    double largest = 0;
    for (size_t i = 0; i < expected.size(); i++) {
        const double error = std::abs(came[i] - expected[i]) / (1 + std::abs(expected[i]));
        if (!(error <= largest)) largest = error;  // not-a-number too
    }
    return largest;
}

template <class T>
double check(const Products &products, int64_t readers, int64_t rows, int64_t relations, int64_t depth,
             int64_t columns) {
    std::vector<int32_t> table(readers * relations);
    for (int32_t &row : table) row = random_bits() % 3 ? static_cast<int32_t>(random_bits() % (rows + 1)) : 0;
    const auto x = random_values<T>(rows * depth), weight = random_values<T>(relations * depth * columns);
    const auto grad = random_values<T>(readers * columns);
    std::vector<double> product(readers * columns), outer(relations * depth * columns);
    for (int64_t v = 0; v < readers; v++)
        for (int64_t r = 0; r < relations; r++) {
            const int32_t row = table[v * relations + r];
            if (!row) continue;
            for (int64_t k = 0; k < depth; k++)
                for (int64_t j = 0; j < columns; j++) {
                    const double value = x[(row - 1) * depth + k];
                    product[v * columns + j] += value * weight[(r * depth + k) * columns + j];
                    outer[(r * depth + k) * columns + j] += value * grad[v * columns + j];
                }
        }

    const int64_t tiles = ceil_div(columns, products.tile_columns);
    std::vector<T> packed(tiles * relations * depth * products.tile_columns), zeros(depth), out(readers * columns);
    products.pack({weight.data(), {depth * columns, columns, 1}, relations, depth, columns, packed.data()}, 0,
                  tiles * relations);
    std::vector<int32_t> order(readers);
    for (int64_t v = 0; v < readers; v++) order[v] = static_cast<int32_t>(readers - 1 - v);
    products.multiply({x.data(), packed.data(), zeros.data(), table.data(), order.data(), out.data(), readers,
                       relations, depth, columns, depth},
                      0, ceil_div(readers, products.run_readers));

    std::vector<Edge> edges(relations * readers);
    std::vector<int64_t> counts(relations);
    int32_t outside = 0;
    list_edges({{table.data(), readers, relations, rows}, {1, readers}, edges.data(), counts.data(), &outside}, 0, 1);
    std::vector<T> sums(relations * depth * columns);
    const Outer o = {x.data(), grad.data(), edges.data(), counts.data(), sums.data(), {1, readers},
                     relations, depth,      columns,      depth,         columns};
    products.outer(o, 0, products.outer_tasks(o));
    return outside ? INFINITY : std::max(largest_error(out, product), largest_error(sums, outer));
}

}  // namespace

int main() {
    double single = 0, twice = 0;
    for (int64_t depth : {1, 2, 7, 16, 33, 100})
        for (int64_t columns : {1, 3, 8, 17, 32, 70}) {
            single = std::max(single, check<float>(kernels().float32, 57, 40, 5, depth, columns));
            twice = std::max(twice, check<double>(kernels().float64, 130, 40, 3, depth, columns));
        }
    std::printf("float32 %.3g float64 %.3g\n", single, twice);
    return single < 1e-4 && twice < 1e-12 ? 0 : 1;
}
