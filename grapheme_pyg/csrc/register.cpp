// The interface to PyTorch: checks arguments, allocates tensors, and divides the work among PyTorch's threads.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <atomic>
#include <initializer_list>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "kernels.h"
#include "planning.h"

namespace grapheme {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
typedef std::optional<Tensor> MaybeTensor;
typedef std::vector<int64_t> Shape;

// ---- Checks

constexpr int64_t ANY = -1;

std::string text(const Shape &shape) {
    std::string all;
    for (int64_t size : shape) all += (all.empty() ? "" : ", ") + (size == ANY ? "*" : std::to_string(size));
    return "[" + all + "]";
}

Shape shape_of(const Tensor &tensor) {
    const auto sizes = tensor.sizes();
    return Shape(sizes.begin(), sizes.end());
}

// An argument of an operator, for messages.
struct Argument {
    const char *op, *name;
    const Tensor &tensor;
};

bool is_row_type(ScalarType type) {
    return type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::BFloat16 ||
           type == ScalarType::Half;
}

void expect_shape(const Argument &a, const Shape &expected) {
    STD_TORCH_CHECK(a.tensor.is_cpu() && a.tensor.layout() == torch::headeronly::Layout::Strided, a.op, ": ", a.name,
                    ": expected a dense tensor on the CPU, got another");
    const Shape shape = shape_of(a.tensor);
    bool fits = shape.size() == expected.size();
    for (size_t i = 0; fits && i < shape.size(); i++) fits = expected[i] == ANY || expected[i] == shape[i];
    STD_TORCH_CHECK(fits, a.op, ": ", a.name, ": expected shape ", text(expected), ", got ", text(shape));
    STD_TORCH_CHECK(a.tensor.numel() == 0 || a.tensor.const_data_ptr(), a.op, ": ", a.name,
                    ": expected a tensor with values, got one without memory");
}

void expect(const Argument &a, const Shape &shape, ScalarType type) {
    expect_shape(a, shape);
    const ScalarType came = a.tensor.scalar_type();
    STD_TORCH_CHECK(came == type, a.op, ": ", a.name, ": expected ", torch::headeronly::toString(type), ", got ",
                    torch::headeronly::toString(came));
}

void expect_floating(const Argument &a, const Shape &shape) {
    expect_shape(a, shape);
    STD_TORCH_CHECK(is_row_type(a.tensor.scalar_type()), a.op, ": ", a.name,
                    ": expected Float, Double, BFloat16 or Half, got ",
                    torch::headeronly::toString(a.tensor.scalar_type()));
}

void expect_between(const char *op, const char *name, int64_t least, int64_t most, int64_t came) {
    STD_TORCH_CHECK(least <= came && came <= most, op, ": ", name, ": expected ", least, " to ", most, ", got ", came);
}

void expect_memory(bool enough, const char *op) { STD_TORCH_CHECK(enough, op, ": not enough memory"); }

// ---- Tensors

// The type in which values of this type are summed.
ScalarType wide_type(ScalarType type) { return type == ScalarType::Double ? type : ScalarType::Float; }

Tensor as_type(const Tensor &tensor, ScalarType type) {
    return tensor.scalar_type() == type ? tensor : torch::stable::to(tensor, type);
}

Tensor dense(const Tensor &tensor) { return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor); }

Tensor make(const Shape &shape, ScalarType type) { return torch::stable::empty(shape, type); }

Tensor make_zeros(const Shape &shape, ScalarType type) {
    Tensor tensor = make(shape, type);
    if (tensor.numel()) memset(tensor.mutable_data_ptr(), 0, tensor.numel() * tensor.element_size());
    return tensor;
}

// Rows need not be adjacent, as in a part of a wider matrix.
Tensor with_whole_rows(const Tensor &x) { return x.size(1) <= 1 || x.stride(1) == 1 ? x : dense(x); }

template <class T>
const T *data(const Tensor &tensor) {
    return static_cast<const T *>(tensor.const_data_ptr());
}

template <class T>
T *mutable_data(const Tensor &tensor) {
    return static_cast<T *>(tensor.mutable_data_ptr());
}

// ---- Threads

// Calls function(begin, end) for parts of [0, count). Less work than about ten microseconds is not worth a thread.
// Threads take parts until none is left, because they start at different times and parts take different times.
template <class Function>
void share(int64_t count, int64_t work_of_each, const Function &function) {
    constexpr int64_t WORTH_A_THREAD = 1 << 16, PARTS_OF_A_THREAD = 8;
    const int64_t least = 1 + WORTH_A_THREAD / (1 + work_of_each);
    std::atomic<int64_t> next{0};
    if (count > 0)
        torch::stable::parallel_for(0, count, least, [&](int64_t begin, int64_t end) {
            const bool alone = end - begin == count;
            const int64_t length = alone ? count : ceil_div(end - begin, PARTS_OF_A_THREAD);
            for (int64_t first; (first = next.fetch_add(length, std::memory_order_relaxed)) < count;)
                function(first, smaller(first + length, count));
        });
}

template <class Arguments>
void share(int64_t count, int64_t work_of_each, void (*kernel)(const Arguments &, int64_t, int64_t),
           const Arguments &arguments) {
    share(count, work_of_each, [&](int64_t begin, int64_t end) { kernel(arguments, begin, end); });
}

// The same for kernels that return whether there was enough memory.
template <class Arguments>
bool share(int64_t count, int64_t work_of_each, bool (*kernel)(const Arguments &, int64_t, int64_t),
           const Arguments &arguments) {
    std::atomic<bool> enough{true};
    share(count, work_of_each, [&](int64_t begin, int64_t end) {
        if (!kernel(arguments, begin, end)) enough = false;
    });
    return enough;
}

// Returns a value that is not in [0, size), or null, and copies all values if `copies` is not null.
const int64_t *find_outside(const Tensor &tensor, int64_t size, int32_t *copies) {
    const int64_t *values = data<int64_t>(tensor);
    std::atomic<const int64_t *> outside{nullptr};
    share(tensor.numel(), 1, [&](int64_t begin, int64_t end) {
        const int64_t *last = nullptr;
        for (int64_t i = begin; i < end; i++) {
            if (static_cast<uint64_t>(values[i]) >= static_cast<uint64_t>(size)) last = values + i;
            if (copies) copies[i] = static_cast<int32_t>(values[i]);
        }
        if (last) outside = last;
    });
    return outside;
}

void expect_indices(const Argument &a, int64_t size, int32_t *copies = nullptr) {
    const int64_t *outside = find_outside(a.tensor, size, copies);
    STD_TORCH_CHECK(!outside, a.op, ": expected ", a.name, " in [0, ", size, "), got ", *outside);
}

// Returns indices as 32-bit integers, which are faster to read repeatedly.
Tensor small_indices(const Argument &a, int64_t size) {
    const Tensor copies = make(shape_of(a.tensor), ScalarType::Int);
    expect_indices(a, size, mutable_data<int32_t>(copies));
    return copies;
}

// ---- Typed convolution

constexpr int64_t SORTING_SECTIONS = 4, SUMMING_SECTIONS = 16, READERS_OF_SECTION = 2048;

void expect_rows_and_table(const char *op, const Tensor &x, const Tensor &rows) {
    expect_floating({op, "x", x}, {ANY, ANY});
    expect({op, "rows", rows}, {ANY, ANY}, ScalarType::Int);
    expect_between(op, "number of rows of x", 0, INT32_MAX - 1, x.size(0));
    expect_between(op, "number of rows of the table", 0, INT32_MAX - 1, rows.size(0));
}

void expect_inside(const char *op, const Table &table, const Tensor &outside) {
    for (int64_t i = 0; i < outside.numel(); i++)
        STD_TORCH_CHECK(data<int32_t>(outside)[i] == 0, op, ": expected rows in [0, ", table.num_rows, "], got ",
                        data<int32_t>(outside)[i]);
}

Sections divide(int64_t readers, int64_t count) { return {count, ceil_div(readers, count)}; }

Tensor sorted_readers(const char *op, const Table &table) {
    const Sections sections = divide(table.readers, SORTING_SECTIONS);
    const int64_t bits = pattern_bits(table), work = sections.length * (1 + table.relations);
    const Tensor pattern = make({table.readers}, ScalarType::Short), order = make({table.readers}, ScalarType::Int);
    const Tensor next = make_zeros({sections.count << bits}, ScalarType::Int);
    const Tensor outside = make_zeros({sections.count}, ScalarType::Int);
    const Sorting s = {table, sections, bits, mutable_data<uint16_t>(pattern), mutable_data<int32_t>(next),
                       mutable_data<int32_t>(order), mutable_data<int32_t>(outside)};
    share(sections.count, work, count_patterns, s);
    expect_inside(op, table, outside);
    place_patterns(s);
    share(sections.count, sections.length, order_readers, s);
    return order;
}

// Returns rows and the kernels for their type; rows are widened if there are none.
std::tuple<Tensor, const Products *> choose_products(const Tensor &x, int64_t depth) {
    const ScalarType type = x.scalar_type();
    if (type == ScalarType::Double) return {with_whole_rows(x), &kernels().float64};
    if (type == ScalarType::BFloat16 && depth % 2 == 0 && bfloat16_products())
        return {with_whole_rows(x), bfloat16_products()};
    return {with_whole_rows(as_type(x, ScalarType::Float)), &kernels().float32};
}

Tensor packed_weights(const Products &products, const Tensor &weight, ScalarType type) {
    const int64_t relations = weight.size(0), depth = weight.size(1), columns = weight.size(2);
    const int64_t tiles = ceil_div(columns, products.tile_columns);
    // A row of zeros follows the weights.
    const Tensor packed = make({tiles * relations * depth * products.tile_columns + depth}, type);
    const Weights w = {weight.const_data_ptr(), {weight.stride(0), weight.stride(1), weight.stride(2)},
                       relations, depth, columns, packed.mutable_data_ptr()};
    share(tiles * relations, depth * products.tile_columns, products.pack, w);
    memset(mutable_data<char>(packed) + (packed.numel() - depth) * packed.element_size(), 0,
           depth * packed.element_size());
    return packed;
}

Tensor typed_conv(const Tensor &x, const Tensor &rows, const Tensor &weight, const MaybeTensor &) {
    const char *op = "typed_conv";
    expect_rows_and_table(op, x, rows);
    const int64_t readers = rows.size(0), relations = rows.size(1), depth = x.size(1);
    expect_floating({op, "weight", weight}, {relations, depth, ANY});
    const int64_t columns = weight.size(2);
    const Tensor table_rows = dense(rows);
    const Table table = {data<int32_t>(table_rows), readers, relations, x.size(0)};
    const Tensor order = sorted_readers(op, table);
    if (x.numel() == 0 || readers * relations * columns == 0) return make_zeros({readers, columns}, x.scalar_type());

    const auto [from, products] = choose_products(x, depth);
    const ScalarType type = from.scalar_type();
    const Tensor packed = packed_weights(*products, as_type(weight, wide_type(type)), type);
    const Tensor out = make({readers, columns}, type);
    const char *zeros = data<char>(packed) + (packed.numel() - depth) * packed.element_size();
    const Product p = {from.const_data_ptr(), packed.const_data_ptr(), zeros, table.rows, data<int32_t>(order),
                       out.mutable_data_ptr(), readers, relations, depth, columns, from.stride(0)};
    share(ceil_div(readers, products->run_readers), products->run_readers * relations * depth * columns / 16,
          products->multiply, p);
    return as_type(out, x.scalar_type());
}

// Sums over sections, in their order.
template <class T>
void add_sections(const Tensor &parts, const Tensor &out) {
    const int64_t size = out.numel(), count = parts.size(0);
    const T *from = data<T>(parts);
    T *to = mutable_data<T>(out);
    share(size, count, [&](int64_t begin, int64_t end) {
        memcpy(to + begin, from + begin, (end - begin) * sizeof(T));
        for (int64_t section = 1; section < count; section++)
            for (int64_t i = begin; i < end; i++) to[i] += from[section * size + i];
    });
}

Tensor typed_conv_weight_grad(const Tensor &x, const Tensor &rows, const Tensor &grad, const MaybeTensor &) {
    const char *op = "typed_conv_weight_grad";
    expect_rows_and_table(op, x, rows);
    const int64_t readers = rows.size(0), relations = rows.size(1), depth = x.size(1);
    expect({op, "grad", grad}, {readers, ANY}, x.scalar_type());
    const int64_t columns = grad.size(1);
    const Sections sections = divide(readers, 1 + smaller(readers / READERS_OF_SECTION, SUMMING_SECTIONS - 1));
    const Tensor table_rows = dense(rows);
    const Table table = {data<int32_t>(table_rows), readers, relations, x.size(0)};
    const Tensor edges = make({sections.count * relations * sections.length, 2}, ScalarType::Int);
    const Tensor counts = make({sections.count, relations}, ScalarType::Long);
    const Tensor outside = make_zeros({sections.count}, ScalarType::Int);
    const EdgeLists lists = {table, sections, mutable_data<Edge>(edges), mutable_data<int64_t>(counts),
                             mutable_data<int32_t>(outside)};
    share(sections.count, sections.length * relations, list_edges, lists);
    expect_inside(op, table, outside);

    const auto [from, products] = choose_products(x, 0);
    const Tensor from_grad = with_whole_rows(as_type(grad, from.scalar_type()));
    const ScalarType type = wide_type(x.scalar_type());
    const Tensor out = make_zeros({relations, depth, columns}, type);
    if (out.numel() == 0 || readers == 0) return out;
    const Tensor parts = sections.count > 1 ? make_zeros({sections.count, relations, depth, columns}, type) : out;
    const Outer o = {from.const_data_ptr(), from_grad.const_data_ptr(), lists.edges, lists.counts,
                     parts.mutable_data_ptr(), sections, relations, depth, columns, from.stride(0),
                     from_grad.stride(0)};
    share(sections.count * products->outer_tasks(o), sections.length * depth, products->outer, o);
    if (sections.count > 1 && type == ScalarType::Double) add_sections<double>(parts, out);
    if (sections.count > 1 && type == ScalarType::Float) add_sections<float>(parts, out);
    return out;
}

// ---- Normalisation

const RowKernels &row_kernels(ScalarType type) {
    const Kernels &all = kernels();
    return type == ScalarType::Double     ? all.rows_float64
           : type == ScalarType::BFloat16 ? all.rows_bfloat16
           : type == ScalarType::Half     ? all.rows_float16
                                          : all.rows_float32;
}

// The common part of the operators of normalisation.
struct NormCall {
    const char *op;
    const Tensor x;
    const ScalarType wide;
    const RowKernels &kernels;
    Norm norm = {};
    std::vector<Tensor> kept;

    NormCall(const char *op, const Tensor &x, const Tensor &weight, const Tensor &bias, double eps)
        : op(op), x(checked(op, x)), wide(wide_type(x.scalar_type())), kernels(row_kernels(x.scalar_type())) {
        norm.rows = x.size(0);
        norm.channels = x.size(1);
        norm.eps = eps;
        norm.x = this->x.const_data_ptr();
        norm.weight = channels("weight", weight);
        norm.bias = channels("bias", bias);
        norm.terms = room({4, norm.channels});
    }

    static Tensor checked(const char *op, const Tensor &x) {
        expect_floating({op, "x", x}, {ANY, ANY});
        return dense(x);
    }

    // One value for each channel, in the type that the kernels use.
    void *channels(const char *name, const Tensor &tensor) {
        expect_floating({op, name, tensor}, {norm.channels});
        kept.push_back(dense(as_type(tensor, wide)));
        return const_cast<void *>(kept.back().const_data_ptr());
    }

    void *room(const Shape &shape) {
        kept.push_back(make_zeros(shape, wide));
        return kept.back().mutable_data_ptr();
    }

    void *parts() { return room({ceil_div(norm.rows, BLOCK), 2, norm.channels}); }

    Tensor result() {
        const Tensor out = make({norm.rows, norm.channels}, x.scalar_type());
        norm.out = out.mutable_data_ptr();
        return out;
    }

    void run(void (*kernel)(const Norm &, int64_t, int64_t)) const {
        share(ceil_div(norm.rows, BLOCK), BLOCK * norm.channels, kernel, norm);
    }
};

std::tuple<Tensor, Tensor, Tensor> norm_relu(const Tensor &x, const Tensor &weight, const Tensor &bias, double eps) {
    NormCall call("norm_relu", x, weight, bias, eps);
    const Tensor out = call.result(), mean = make({x.size(1)}, call.wide), variance = make({x.size(1)}, call.wide);
    call.norm.mean = mean.mutable_data_ptr();
    call.norm.variance = variance.mutable_data_ptr();
    call.norm.parts = call.parts();
    call.kernels.norm_origin(call.norm);
    call.run(call.kernels.norm_moments);
    call.kernels.norm_statistics(call.norm);
    call.kernels.norm_scale(call.norm);
    call.run(call.kernels.norm_apply);
    return {out, mean, variance};
}

Tensor norm_relu_known(const Tensor &x, const Tensor &weight, const Tensor &bias, const Tensor &mean,
                       const Tensor &variance, double eps) {
    NormCall call("norm_relu_known", x, weight, bias, eps);
    const Tensor out = call.result();
    call.norm.mean = call.channels("mean", mean);
    call.norm.variance = call.channels("variance", variance);
    call.kernels.norm_scale(call.norm);
    call.run(call.kernels.norm_apply);
    return out;
}

std::tuple<Tensor, Tensor, Tensor> norm_relu_backward(const Tensor &grad, const Tensor &x, const Tensor &weight,
                                                      const Tensor &bias, const Tensor &mean, const Tensor &variance,
                                                      double eps) {
    NormCall call("norm_relu_backward", x, weight, bias, eps);
    expect({call.op, "grad", grad}, shape_of(x), x.scalar_type());
    const Tensor dense_grad = dense(grad), out = call.result();
    const Tensor grad_weight = make({x.size(1)}, call.wide), grad_bias = make({x.size(1)}, call.wide);
    call.norm.grad = dense_grad.const_data_ptr();
    call.norm.grad_weight = grad_weight.mutable_data_ptr();
    call.norm.grad_bias = grad_bias.mutable_data_ptr();
    call.norm.mean = call.channels("mean", mean);
    call.norm.variance = call.channels("variance", variance);
    call.norm.parts = call.parts();
    call.kernels.norm_scale(call.norm);
    call.run(call.kernels.norm_products);
    call.kernels.norm_sums(call.norm);
    call.run(call.kernels.norm_gradient);
    return {out, grad_weight, grad_bias};
}

// ---- Pooling

// Checks the arguments of both operators, which the kernels trust; returns null for all rows.
MaybeTensor checked_pooling(const char *op, const Tensor &x, const MaybeTensor &rows, const Tensor &first) {
    expect_floating({op, "x", x}, {ANY, ANY});
    expect({op, "first", first}, {ANY}, ScalarType::Long);
    MaybeTensor dense_rows;
    if (rows) {
        expect({op, "rows", *rows}, {ANY}, ScalarType::Long);
        dense_rows = dense(*rows);
        expect_indices({op, "rows", *dense_rows}, x.size(0));
    }
    const int64_t graphs = first.numel() - 1, count = rows ? rows->numel() : x.size(0);
    const int64_t *starts = data<int64_t>(first);
    bool ascends = graphs >= 0 && starts[0] == 0 && starts[graphs] == count;
    for (int64_t graph = 0; ascends && graph < graphs; graph++) ascends = starts[graph] <= starts[graph + 1];
    STD_TORCH_CHECK(ascends, op, ": first: expected numbers that ascend from 0 to ", count, ", got others");
    return dense_rows;
}

int64_t pooling_work(const Tensor &x, const Tensor &first) { return x.numel() / first.numel() + x.size(1); }

Tensor mean_max_pool(const Tensor &x, const MaybeTensor &rows, const Tensor &first) {
    const Tensor from = dense(x), starts = dense(first);
    const MaybeTensor checked = checked_pooling("mean_max_pool", from, rows, starts);
    const Tensor out = make({starts.numel() - 1, 2 * x.size(1)}, wide_type(x.scalar_type()));
    Pool p = {};
    p.channels = x.size(1);
    p.x = from.const_data_ptr();
    p.rows = checked ? data<int64_t>(*checked) : nullptr;
    p.first = data<int64_t>(starts);
    p.pooled = out.mutable_data_ptr();
    share(out.size(0), pooling_work(x, starts), row_kernels(x.scalar_type()).pool, p);
    return out;
}

Tensor mean_max_pool_backward(const Tensor &grad, const Tensor &x, const Tensor &out, const MaybeTensor &rows,
                              const Tensor &first) {
    const char *op = "mean_max_pool_backward";
    const Tensor from = dense(x), starts = dense(first);
    const MaybeTensor checked = checked_pooling(op, from, rows, starts);
    const ScalarType wide = wide_type(x.scalar_type());
    const int64_t graphs = starts.numel() - 1, channels = x.size(1);
    expect({op, "grad", grad}, {graphs, 2 * channels}, wide);
    expect({op, "out", out}, {graphs, 2 * channels}, wide);
    const Tensor dense_grad = dense(grad), dense_out = dense(out), shares = make({graphs, channels}, wide);
    const Tensor grad_x = (checked ? make_zeros : make)({x.size(0), channels}, x.scalar_type());
    Pool p = {};
    p.channels = channels;
    p.x = from.const_data_ptr();
    p.rows = checked ? data<int64_t>(*checked) : nullptr;
    p.first = data<int64_t>(starts);
    p.grad = dense_grad.const_data_ptr();
    p.pooled = const_cast<void *>(dense_out.const_data_ptr());
    p.shares = shares.mutable_data_ptr();
    p.grad_x = grad_x.mutable_data_ptr();
    share(graphs, 2 * pooling_work(x, starts), row_kernels(x.scalar_type()).pool_backward, p);
    return grad_x;
}

// ---- Images

constexpr int64_t MOST_PIXELS = 1 << 15, MOST_LEVELS = 31;

void expect_grid(const char *op, const Tensor &pixels, const Tensor &grids, int64_t patch) {
    const int64_t *size = data<int64_t>(grids);
    for (int64_t level = 0; level < grids.size(0); level++, size += 2) {
        const int64_t rows = level ? ceil_div(size[-2], 2) : ceil_div(pixels.size(2), patch);
        const int64_t columns = level ? ceil_div(size[-1], 2) : ceil_div(pixels.size(3), patch);
        STD_TORCH_CHECK(size[0] == rows && size[1] == columns, op, ": grids: expected ", text({rows, columns}),
                        " at level ", level, ", got ", text({size[0], size[1]}));
    }
}

// Checks sizes of images in the upper left corner of a canvas: height, width and others.
void expect_sizes(const char *op, const Tensor &pixels, const Tensor &sizes, int64_t columns) {
    expect({op, "sizes", sizes}, {pixels.size(0), columns}, ScalarType::Long);
    expect_between(op, "height", 1, INT32_MAX, pixels.size(2));
    expect_between(op, "width", 1, INT32_MAX, pixels.size(3));
    const int64_t *size = data<int64_t>(sizes);
    for (int64_t image = 0; image < sizes.size(0); image++, size += columns) {
        expect_between(op, "height", 1, pixels.size(2), size[0]);
        expect_between(op, "width", 1, pixels.size(3), size[1]);
    }
}

std::tuple<Tensor, Tensor> measure_cells(const Tensor &pixels, const Tensor &sizes, const Tensor &grids,
                                         int64_t patch_size, int64_t margin, int64_t threshold) {
    const char *op = "measure_cells";
    expect({op, "pixels", pixels}, {ANY, ANY, ANY, ANY}, ScalarType::Byte);
    expect({op, "grids", grids}, {ANY, 2}, ScalarType::Long);
    expect_between(op, "patch_size", 1, MOST_PIXELS, patch_size);
    expect_between(op, "margin", 0, MOST_PIXELS, margin);
    expect_between(op, "channels", 0, MOST_PIXELS, pixels.size(1));
    expect_between(op, "levels", 1, MOST_LEVELS, grids.size(0));
    const Tensor dense_pixels = dense(pixels), own = dense(sizes), cells_of = dense(grids);
    expect_sizes(op, pixels, own, 3);
    expect_grid(op, pixels, cells_of, patch_size);

    const int64_t images = pixels.size(0), channels = pixels.size(1), side = patch_size + 2 * margin;
    for (int64_t i = 0; i < images; i++)
        expect_between(op, "levels", 1, grids.size(0), data<int64_t>(own)[3 * i + 2]);
    int64_t cells = 1;
    for (int64_t level = 0; level < grids.size(0); level++)
        cells += data<int64_t>(cells_of)[2 * level] * data<int64_t>(cells_of)[2 * level + 1];
    const int64_t features = channels * (side * side < 2 ? 2 : side * side);
    const Tensor present = make({images, cells}, ScalarType::Bool);
    const Tensor out = make_zeros({images, cells, features}, ScalarType::Float);
    const Grid g = {channels, pixels.size(2), pixels.size(3), patch_size, margin, threshold, cells,
                    features, data<int64_t>(cells_of), data<int64_t>(own), data<uint8_t>(dense_pixels),
                    mutable_data<bool>(present), mutable_data<float>(out)};
    expect_memory(share(images, cells * features, measure_images, g), op);
    return {present, out};
}

Tensor relative_to_ground(const Tensor &pixels, const Tensor &sizes, int64_t least_contrast, double cut) {
    const char *op = "relative_to_ground";
    expect({op, "pixels", pixels}, {ANY, 1, ANY, ANY}, ScalarType::Byte);
    const Tensor dense_pixels = dense(pixels), own = dense(sizes), out = make_zeros(shape_of(pixels), ScalarType::Byte);
    expect_sizes(op, pixels, own, 4);
    for (int64_t i = 0; i < pixels.size(0); i++) {
        const int64_t *size = data<int64_t>(own) + 4 * i;
        expect_between(op, "frame", 1, INT32_MAX, size[2]);
        expect_between(op, "brightest", 1, size[0] * size[1], size[3]);
    }
    const int64_t height = pixels.size(2), width = pixels.size(3);
    const Ground g = {height, width, static_cast<float>(least_contrast), static_cast<float>(32 * cut),
                      data<int64_t>(own), data<uint8_t>(dense_pixels), mutable_data<uint8_t>(out)};
    // About fifty operations for each pixel.
    expect_memory(share(pixels.size(0), 50 * height * width, relate_to_ground, g), op);
    return out;
}

Tensor warp(const Tensor &pixels, const Tensor &sizes, const Tensor &affine, const Tensor &moves, const Tensor &down,
            const Tensor &across) {
    const char *op = "warp";
    expect({op, "pixels", pixels}, {ANY, ANY, ANY, ANY}, ScalarType::Byte);
    const int64_t images = pixels.size(0), channels = pixels.size(1), height = pixels.size(2), width = pixels.size(3);
    const Tensor dense_pixels = dense(pixels), own = dense(sizes), out = make_zeros(shape_of(pixels), ScalarType::Byte);
    expect_sizes(op, pixels, own, 2);
    expect({op, "affine", affine}, {images, 2, 3}, ScalarType::Float);
    expect({op, "moves", moves}, {images, 2, ANY, moves.size(2)}, ScalarType::Float);
    const int64_t points = moves.size(2);
    expect({op, "down", down}, {images, height, points}, ScalarType::Float);
    expect({op, "across", across}, {images, points, width}, ScalarType::Float);
    const Tensor maps = dense(affine), moved = dense(moves), rows = dense(down), columns = dense(across);
    const Tensor buffers = make({images, 3, width}, ScalarType::Float);
    const Warp w = {channels, height, width, points, data<int64_t>(own), data<float>(maps), data<float>(moved),
                    data<float>(rows), data<float>(columns), data<uint8_t>(dense_pixels),
                    mutable_data<float>(buffers), mutable_data<uint8_t>(out)};
    share(images, (20 + 10 * channels) * height * width, kernels().warp, w);
    return out;
}

Tensor half_products(const Tensor &rows, const Tensor &stored) {
    const char *op = "half_products";
    expect({op, "rows", rows}, {ANY, ANY}, ScalarType::Float);
    expect({op, "stored", stored}, {ANY, rows.size(1)}, ScalarType::Half);
    const Tensor x = dense(rows), half = dense(stored);
    const Tensor out = make_zeros({x.size(0), half.size(0)}, ScalarType::Float);
    const HalfProducts p = {x.size(0), half.size(0), x.size(1), data<float>(x), half.const_data_ptr(),
                            mutable_data<float>(out)};
    share(ceil_div(p.stored, HALF_ROWS), p.width * (1 + p.rows) / 4, kernels().half_products, p);
    return out;
}

Tensor superpixels(const Tensor &values, const Tensor &active, const Tensor &num_regions, double compactness) {
    const char *op = "superpixels";
    expect({op, "values", values}, {ANY, ANY, ANY, ANY}, ScalarType::Float);
    expect({op, "active", active}, {values.size(0), values.size(2), values.size(3)}, ScalarType::Bool);
    expect({op, "num_regions", num_regions}, {values.size(0)}, ScalarType::Long);
    const int64_t images = values.size(0), height = values.size(2), width = values.size(3);
    expect_between(op, "height * width", 0, INT32_MAX / 2, height * width);
    const Tensor dense_values = dense(values), dense_active = dense(active), numbers = dense(num_regions);
    for (int64_t i = 0; i < images; i++) expect_between(op, "num_regions", 1, INT32_MAX, data<int64_t>(numbers)[i]);
    const Tensor out = make(shape_of(active), ScalarType::Long);
    const Superpixels s = {values.size(1), height, width, compactness, data<float>(dense_values),
                           data<bool>(dense_active), data<int64_t>(numbers), mutable_data<int64_t>(out)};
    // Each pixel is compared with about sixteen centres in each of ten iterations.
    expect_memory(share(images, 500 * height * width, cut_into_superpixels, s), op);
    return out;
}

// Returns where the items of each image start, and their total number.
Tensor starts_of(const Tensor &counts) {
    const Tensor first = make({counts.numel() + 1}, ScalarType::Long);
    int64_t *start = mutable_data<int64_t>(first);
    start[0] = 0;
    for (int64_t i = 0; i < counts.numel(); i++) start[i + 1] = start[i] + data<int64_t>(counts)[i];
    return first;
}

typedef std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> Induced;

Induced induce(const Tensor &entity, const Tensor &edge_index, const Tensor &present) {
    const char *op = "induce";
    expect({op, "entity", entity}, {ANY}, ScalarType::Long);
    expect({op, "edge_index", edge_index}, {2, ANY}, ScalarType::Long);
    expect({op, "present", present}, {ANY, ANY}, ScalarType::Bool);
    const int64_t nodes = entity.numel(), edges = edge_index.size(1), images = present.size(0);
    expect_between(op, "nodes", 0, INT32_MAX - 1, nodes);
    expect_between(op, "edges", 0, INT32_MAX - 1, edges);
    expect_between(op, "entities", 0, INT32_MAX - 1, present.size(1));
    const Tensor there = dense(present), entities = small_indices({op, "entity", dense(entity)}, present.size(1));
    const Tensor ends = small_indices({op, "edge_index", dense(edge_index)}, nodes);

    const Tensor num_nodes = make({images}, ScalarType::Long), num_edges = make({images}, ScalarType::Long);
    Lattice l = {};
    l.nodes = nodes;
    l.edges = edges;
    l.entities = present.size(1);
    l.entity = data<int32_t>(entities);
    l.source = data<int32_t>(ends);
    l.target = l.source + edges;
    l.present = data<bool>(there);
    l.num_nodes = mutable_data<int64_t>(num_nodes);
    l.num_edges = mutable_data<int64_t>(num_edges);
    expect_memory(share(images, nodes + edges, count_induced, l), op);

    const Tensor first_node = starts_of(num_nodes), first_edge = starts_of(num_edges);
    l.first_node = data<int64_t>(first_node);
    l.first_edge = data<int64_t>(first_edge);
    const int64_t all_nodes = l.first_node[images], all_edges = l.first_edge[images];
    const auto room = [](int64_t size, int64_t *&pointer) {
        const Tensor tensor = make({size}, ScalarType::Long);
        pointer = mutable_data<int64_t>(tensor);
        return tensor;
    };
    const Tensor node = room(all_nodes, l.node), row = room(all_nodes, l.row), graph = room(all_nodes, l.graph);
    const Tensor edge = room(all_edges, l.edge), new_ends = make({2, all_edges}, ScalarType::Long);
    l.new_source = mutable_data<int64_t>(new_ends);
    l.new_target = l.new_source + all_edges;
    expect_memory(share(images, nodes + edges, fill_induced, l), op);
    return {node, row, graph, edge, new_ends, num_nodes, num_edges};
}

// ---- The plan of a sweep

constexpr int64_t EDGES_OF_CHUNK = 1 << 14, MOST_CHUNKS = 64, TARGETS_OF_RUN = 512;

// Converts a table [4, edge_types] of edge types.
std::vector<PlanKind> checked_kinds(const char *op, const Tensor &kinds, int64_t num_types) {
    const int64_t edge_types = kinds.size(1), *values = data<int64_t>(kinds);
    for (int64_t i = 0; i < 4 * edge_types; i++)
        expect_between(op, "kinds", 0, (i < 2 * edge_types ? num_types : edge_types) - 1, values[i]);
    std::vector<int32_t> relations(edge_types);
    for (int64_t i = 0; i < edge_types; i++) relations[values[2 * edge_types + i]]++;
    std::vector<PlanKind> found;
    for (int64_t i = 0; i < edge_types; i++) {
        int32_t of_kind[4];
        for (int64_t k = 0; k < 4; k++) of_kind[k] = static_cast<int32_t>(values[k * edge_types + i]);
        const auto [source, target, pair, relation] = of_kind;
        expect_between(op, "kinds", 0, relations[pair] - 1, relation);
        found.push_back({source, target, pair, 0, relation, relations[pair]});
    }
    return found;
}

// Returns the description of blocks, and the reverse tables of those that have one.
std::tuple<Tensor, Tensor> described(const std::vector<PlanBlock> &blocks, const Tensor &readers) {
    int64_t kept = 0;
    const Tensor table = make({static_cast<int64_t>(blocks.size()), 7}, ScalarType::Long);
    int64_t *to = mutable_data<int64_t>(table);
    const auto size_of = [](const PlanBlock &b) { return (b.segments < 0 ? b.sources : b.segments) * b.relations; };
    for (const PlanBlock &b : blocks) {
        for (int64_t value : {b.generation, b.pair, b.lowest, b.highest, b.edges, b.segments, int64_t{b.has_readers}})
            *to++ = value;
        kept += b.has_readers ? size_of(b) : 0;
    }
    if (kept == readers.numel()) return {table, readers};
    const Tensor some = make({kept}, ScalarType::Int);
    int32_t *at = mutable_data<int32_t>(some);
    for (const PlanBlock &b : blocks) {
        if (!b.has_readers) continue;
        if (size_of(b)) memcpy(at, data<int32_t>(readers) + b.first_reader, size_of(b) * sizeof(int32_t));
        at += size_of(b);
    }
    return {table, some};
}

typedef std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
                   Tensor>
    Sweep;

Tensor of_values(const std::vector<int64_t> &values, const Shape &shape) {
    const Tensor tensor = make(shape, ScalarType::Long);
    if (!values.empty()) memcpy(tensor.mutable_data_ptr(), values.data(), values.size() * sizeof(int64_t));
    return tensor;
}

Sweep wrong_sweep(int64_t node, int64_t edge) {
    const auto wide = [] { return make({0}, ScalarType::Long); };
    const auto narrow = [] { return make({0}, ScalarType::Int); };
    return {of_values({node, edge}, {2}), make({0, 3}, ScalarType::Long), wide(), wide(), wide(),
            make({0}, ScalarType::Bool), make({0, 7}, ScalarType::Long), narrow(), narrow(), narrow(), narrow(), wide(),
            narrow()};
}

Sweep plan_sweep(const Tensor &edge_index, const Tensor &edge_type, const Tensor &node_type, const Tensor &level,
                 const MaybeTensor &graph, const Tensor &kinds, const Tensor &expected, int64_t num_types,
                 int64_t num_graphs, bool numbered) {
    const char *op = "plan_sweep";
    const int64_t nodes = node_type.numel(), edges = edge_type.numel();
    const auto dense_integers = [&](const char *name, const Tensor &tensor, const Shape &shape) {
        expect({op, name, tensor}, shape, ScalarType::Long);
        return dense(tensor);
    };
    expect_between(op, "nodes", 0, INT32_MAX - 1, nodes);
    expect_between(op, "edges", 0, INT32_MAX - 1, edges);
    expect_between(op, "num_node_types", 1, INT32_MAX, num_types);
    const Tensor ends = dense_integers("edge_index", edge_index, {2, edges});
    const Tensor types = dense_integers("edge_type", edge_type, {edges});
    const Tensor of_kind = dense_integers("kinds", kinds, {4, ANY});
    const MaybeTensor graphs = graph ? MaybeTensor(dense_integers("graph", *graph, {nodes})) : MaybeTensor();
    const Tensor of_type = dense_integers("node_type", node_type, {nodes});
    const Tensor levels = dense_integers("level", level, {nodes}), keys = dense_integers("expected", expected, {ANY});
    const NodeFields fields = {nodes, num_types, num_graphs, data<int64_t>(of_type), data<int64_t>(levels),
                               graphs ? data<int64_t>(*graphs) : nullptr};
    const int64_t wrong_node = find_wrong_node(fields);
    if (wrong_node >= 0) return wrong_sweep(wrong_node, -1);

    std::vector<PlanKind> all_kinds = checked_kinds(op, of_kind, num_types);
    const std::vector<std::vector<PlanKind>> into = pairs_into(all_kinds, num_types);
    const Tensor order = make({nodes}, ScalarType::Long), generation = make({nodes}, ScalarType::Long);
    const Tensor row = make({nodes}, ScalarType::Long);
    SortedNodes sorted = sort_nodes(fields, {data<int64_t>(keys), data<int64_t>(keys) + keys.numel()},
                                    mutable_data<int64_t>(order), mutable_data<int64_t>(generation),
                                    mutable_data<int64_t>(row));
    std::vector<int64_t> described_generations;
    Planning p = {};
    for (PlanGeneration &one : sorted.generations) {
        one.first_block = static_cast<int32_t>(p.candidates);
        p.candidates += into[one.type].size();
        for (int64_t value : {one.level, int64_t{one.type}, one.nodes}) described_generations.push_back(value);
    }
    p.source = data<int64_t>(ends);
    p.target = p.source + edges;
    p.type = data<int64_t>(types);
    p.kinds = all_kinds.data();
    p.edges = edges;
    p.nodes = nodes;
    p.edge_types = all_kinds.size();
    p.node = sorted.node.data();
    p.generations = sorted.generations.data();
    const Tensor is_sink = make({nodes}, ScalarType::Bool);
    p.is_sink = mutable_data<bool>(is_sink);
    if (nodes) memset(p.is_sink, 1, nodes);
    p.chunks = 1 + smaller(edges / std::max(EDGES_OF_CHUNK, 8 * p.candidates), MOST_CHUNKS - 1);
    std::vector<PlanScan> scanned(p.chunks * p.candidates);
    std::vector<int64_t> wrong(p.chunks);
    const Tensor places = make({edges, 4}, ScalarType::Int);
    p.edge = mutable_data<PlanEdge>(places);
    p.scanned = scanned.data();
    p.wrong = wrong.data();
    share(p.chunks, 4 * edges / p.chunks, scan_edges, p);
    const int64_t wrong_edge = add_up_chunks(scanned, wrong, p.candidates);
    if (wrong_edge >= 0) return wrong_sweep(-1, wrong_edge);

    std::vector<PlanTarget> targets;
    std::vector<PlanBlock> blocks = kept_blocks(sorted.generations, into, scanned, keys.numel() > 0, targets);
    int64_t num_slots = 0;
    for (const PlanBlock &b : blocks) num_slots += b.targets * b.relations;
    const Tensor rows = make_zeros({num_slots}, ScalarType::Int);
    p.targets = targets.data();
    p.blocks = blocks.data();
    p.rows = mutable_data<int32_t>(rows);
    share(edges, 4, fill_rows, p);
    std::vector<PlanRun> runs = runs_of(blocks, TARGETS_OF_RUN);
    p.runs = runs.data();
    share(runs.size(), TARGETS_OF_RUN * 4, count_rows, p);
    for (const PlanRun &run : runs) blocks[run.block].filled += run.filled;

    int64_t num_readers = 0, num_numbers = 0, num_listed = 0, num_segments = 0;
    for (PlanBlock &b : blocks) {
        if (b.filled < b.edges) b.segments = b.filled;
        const bool listed = b.segments >= 0;
        b.first_reader = num_readers;
        b.first_number = num_numbers;
        b.first_edge = b.first_listed = num_listed;
        b.first_segment = num_segments;
        num_readers += (listed ? b.segments : b.sources) * b.relations;
        num_numbers += listed ? b.edges : b.targets * b.relations;
        num_listed += listed ? b.edges : 0;
        num_segments += listed ? b.segments : 0;
    }
    const Tensor readers = make_zeros({num_readers}, ScalarType::Int);
    const Tensor numbers = make_zeros({numbered ? num_numbers : 0}, ScalarType::Int);
    const Tensor sources = make({num_listed}, ScalarType::Int), first = make({num_segments}, ScalarType::Int);
    const Tensor segment = make({num_listed}, ScalarType::Long);
    p.readers = mutable_data<int32_t>(readers);
    p.edge_numbers = numbered ? mutable_data<int32_t>(numbers) : nullptr;
    p.sources = mutable_data<int32_t>(sources);
    p.first = mutable_data<int32_t>(first);
    p.segment = mutable_data<int64_t>(segment);
    std::vector<int32_t> by_block(num_listed);
    std::vector<int32_t> next(num_listed ? num_slots : 0);
    p.by_block = by_block.data();
    p.next = next.data();
    if (num_listed) {
        for (int64_t edge = 0; edge < edges; edge++) {
            PlanBlock &b = blocks[targets[p.edge[edge].block].number];
            if (b.segments >= 0) by_block[b.first_edge++] = static_cast<int32_t>(edge);
        }
        for (PlanBlock &b : blocks) b.first_edge = b.first_listed;
        share(blocks.size(), num_slots / blocks.size(), list_edges_of, p);
    }
    if (numbered) share(edges, 4, number_edges, p);
    share(runs.size(), TARGETS_OF_RUN * 4, reverse_rows, p);
    share(blocks.size(), 1 + num_readers / (1 + blocks.size()), count_readers, p);
    const auto [table, kept_readers] = described(blocks, readers);
    const Shape shape = {static_cast<int64_t>(sorted.generations.size()), 3};
    return {of_values({-1, -1}, {2}), of_values(described_generations, shape), order, generation, row, is_sink, table,
            rows, kept_readers, numbers, sources, segment, first};
}

std::tuple<Tensor, Tensor, Tensor> plan_readout(const Tensor &node_type, const MaybeTensor &graph,
                                                const Tensor &generation, const Tensor &row, const Tensor &is_sink,
                                                const Tensor &generations, const Tensor &kind, const Tensor &read,
                                                int64_t num_kinds, int64_t num_graphs) {
    const char *op = "plan_readout";
    const int64_t nodes = node_type.numel(), num_generations = generations.size(0), num_types = kind.numel();
    const auto integers = [&](const char *name, const Tensor &tensor, const Shape &shape, int64_t size) {
        expect({op, name, tensor}, shape, ScalarType::Long);
        const Tensor values = dense(tensor);
        if (size >= 0) expect_indices({op, name, values}, size);
        return values;
    };
    const auto yes_or_no = [&](const char *name, const Tensor &tensor, int64_t size) {
        expect({op, name, tensor}, {size}, ScalarType::Bool);
        return dense(tensor);
    };
    expect_between(op, "num_graphs", 0, INT32_MAX, num_graphs);
    expect_between(op, "num_kinds", 1, INT32_MAX, num_kinds);
    const Tensor sinks = yes_or_no("is_sink", is_sink, nodes), reads = yes_or_no("read", read, num_types);
    const Tensor types = integers("node_type", node_type, {nodes}, num_types);
    const Tensor own = integers("generation", generation, {nodes}, num_generations);
    const Tensor rows = integers("row", row, {nodes}, ANY);
    const Tensor sizes = integers("generations", generations, {num_generations, 3}, ANY);
    const Tensor kinds = integers("kind", kind, {num_types}, num_kinds);
    const MaybeTensor graphs = graph ? MaybeTensor(integers("graph", *graph, {nodes}, num_graphs)) : MaybeTensor();
    const int64_t *type_of = data<int64_t>(types), *generation_of = data<int64_t>(own), *kind_of = data<int64_t>(kinds);
    const int64_t *graph_of = graphs ? data<int64_t>(*graphs) : nullptr;
    const int64_t *row_of = data<int64_t>(rows);
    const bool *sink = data<bool>(sinks), *is_read = data<bool>(reads);
    const auto is_chosen = [&](int64_t i) { return sink[i] || is_read[type_of[i]]; };

    const Tensor first = make_zeros({num_kinds, num_graphs + 1}, ScalarType::Long);
    const Tensor used = make_zeros({num_kinds, num_generations}, ScalarType::Bool);
    int64_t *start = mutable_data<int64_t>(first);
    bool *is_used = mutable_data<bool>(used);
    for (int64_t i = 0; i < nodes; i++) {
        if (!is_chosen(i)) continue;
        const int64_t of_kind = kind_of[type_of[i]];
        STD_TORCH_CHECK(num_graphs > 0, op, ": num_graphs: expected at least one graph of nodes, got none");
        start[of_kind * (num_graphs + 1) + (graph_of ? graph_of[i] : 0) + 1]++;
        is_used[of_kind * num_generations + generation_of[i]] = true;
    }
    std::vector<int64_t> next(num_kinds), shift(num_kinds * num_generations);
    int64_t total = 0;
    for (int64_t k = 0; k < num_kinds; k++) {
        next[k] = total;
        for (int64_t g = 0; g < num_graphs; g++) start[k * (num_graphs + 1) + g + 1] += start[k * (num_graphs + 1) + g];
        total += start[k * (num_graphs + 1) + num_graphs];
        int64_t before = 0;
        for (int64_t g = 0; g < num_generations; g++) {
            shift[k * num_generations + g] = before;
            if (is_used[k * num_generations + g]) before += data<int64_t>(sizes)[3 * g + 2];
        }
    }
    const Tensor chosen = make({total}, ScalarType::Long);
    int64_t *to = mutable_data<int64_t>(chosen);
    for (int64_t i = 0; i < nodes; i++) {
        if (!is_chosen(i)) continue;
        const int64_t k = kind_of[type_of[i]];
        to[next[k]++] = row_of[i] + shift[k * num_generations + generation_of[i]];
    }
    return {chosen, first, used};
}

}  // namespace
}  // namespace grapheme

// Schemas are defined in Python.
STABLE_TORCH_LIBRARY_IMPL(grapheme, CPU, m) {
    m.impl("typed_conv", TORCH_BOX(&grapheme::typed_conv));
    m.impl("typed_conv_weight_grad", TORCH_BOX(&grapheme::typed_conv_weight_grad));
    m.impl("norm_relu", TORCH_BOX(&grapheme::norm_relu));
    m.impl("norm_relu_known", TORCH_BOX(&grapheme::norm_relu_known));
    m.impl("norm_relu_backward", TORCH_BOX(&grapheme::norm_relu_backward));
    m.impl("mean_max_pool", TORCH_BOX(&grapheme::mean_max_pool));
    m.impl("mean_max_pool_backward", TORCH_BOX(&grapheme::mean_max_pool_backward));
    m.impl("measure_cells", TORCH_BOX(&grapheme::measure_cells));
    m.impl("relative_to_ground", TORCH_BOX(&grapheme::relative_to_ground));
    m.impl("warp", TORCH_BOX(&grapheme::warp));
    m.impl("half_products", TORCH_BOX(&grapheme::half_products));
    m.impl("superpixels", TORCH_BOX(&grapheme::superpixels));
    m.impl("induce", TORCH_BOX(&grapheme::induce));
    m.impl("plan_sweep", TORCH_BOX(&grapheme::plan_sweep));
    m.impl("plan_readout", TORCH_BOX(&grapheme::plan_readout));
}
