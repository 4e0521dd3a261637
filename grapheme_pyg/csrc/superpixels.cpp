// Segments images into compact regions of similar pixels, in the same steps as ops/superpixels.py.
#include <algorithm>
#include <utility>

#include "kernels.h"
#include "memory.h"

namespace grapheme {

namespace {

const int ITERATIONS = 10;
const double LEAST = 0.25;

struct Work {
    const Superpixels &s;
    // Active pixels, row by row; `place` is the number of a pixel, or −1.
    int64_t count = 0;
    Array<int32_t> place, y, x, label;
    Array<double> best;
    // Centres, up to the number of pixels and bands: number of pixels, and sums of y, x and values, which become means.
    Array<double> centre;
    Array<int32_t> number;
    // Parts, up to the number of pixels.
    Array<int32_t> part, member, first, root, order, beside, touched, size;

    explicit Work(const Superpixels &s)
        : s(s), place(pixels()), y(pixels()), x(pixels()), label(pixels()), best(pixels()),
          centre((pixels() + s.height) * (3 + s.channels)), number(pixels() + s.height), part(pixels()),
          member(pixels()), first(pixels() + 1), root(pixels()), order(pixels()), beside(pixels()), touched(pixels()),
          size(pixels()) {}
    int64_t pixels() const { return s.height * s.width; }
    bool complete() const {
        return place && y && x && label && best && centre && number && part && member && first && root &&
               order && beside && touched && size;
    }
};

void find_active(Work &w, const bool *active) {
    w.count = 0;
    for (int64_t y = 0, i = 0; y < w.s.height; y++)
        for (int64_t x = 0; x < w.s.width; x++, i++) {
            w.place[i] = active[i] ? w.count : -1;
            if (!active[i]) continue;
            w.y[w.count] = y;
            w.x[w.count++] = x;
        }
}

// Labels runs of about equal length along bands of pixels; returns an upper limit of labels.
int64_t start(Work &w, double side, double area) {
    int64_t labels = 0;
    for (int64_t top = w.y[0], bottom; top < w.s.height; top = bottom) {
        const auto band = [&](int64_t y) { return static_cast<int64_t>((y - w.y[0]) / side); };
        for (bottom = top; bottom < w.s.height && band(bottom) == band(top);) bottom++;
        // Pixels are numbered column by column, but visited in memory order: `next` counts the pixels of each column.
        int32_t *next = w.order.get();
        const auto each = [&](auto &&function) {
            for (int64_t y = top; y < bottom; y++)
                for (int64_t x = 0; x < w.s.width; x++)
                    if (w.place[y * w.s.width + x] >= 0) function(w.place[y * w.s.width + x], next[x]++);
        };
        std::fill_n(next, w.s.width, 0);
        each([](int32_t, int32_t) {});
        int64_t length = 0;
        for (int64_t x = 0; x < w.s.width; x++) length += std::exchange(next[x], length);
        const int64_t runs = std::max<int64_t>(1, static_cast<int64_t>(length / area + 0.5));
        each([&](int32_t pixel, int64_t i) { w.label[pixel] = labels + i * runs / length; });
        labels += runs;
    }
    return labels;
}

// Renumbers labels without gaps and computes their centres; returns their number.
int64_t find_centres(Work &w, const float *values, int64_t labels) {
    const int64_t fields = 3 + w.s.channels;
    std::fill_n(w.number.get(), labels, -1);
    for (int64_t i = 0; i < w.count; i++) w.number[w.label[i]] = 0;
    int64_t centres = 0;
    for (int64_t k = 0; k < labels; k++)
        if (w.number[k] == 0) w.number[k] = centres++;
    std::fill_n(w.centre.get(), centres * fields, 0.0);
    for (int64_t i = 0; i < w.count; i++) {
        w.label[i] = w.number[w.label[i]];
        double *centre = w.centre.get() + w.label[i] * fields;
        centre[0] += 1;
        centre[1] += w.y[i];
        centre[2] += w.x[i];
        for (int64_t c = 0; c < w.s.channels; c++)
            centre[3 + c] += values[c * w.pixels() + w.y[i] * w.s.width + w.x[i]];
    }
    for (int64_t k = 0; k < centres; k++)
        for (int64_t field = 1; field < fields; field++) w.centre[k * fields + field] /= w.centre[k * fields];
    return centres;
}

// Row by row, so that the data of its pixels stays in the cache for all centres.
void assign(Work &w, const float *values, int64_t centres, double side, double weight) {
    const int64_t fields = 3 + w.s.channels, pixels = w.pixels();
    const double reach = 2 * side;
    std::fill_n(w.best.get(), w.count, INFINITY);
    for (int64_t y = 0; y < w.s.height; y++) {
        const int32_t *place = w.place.get() + y * w.s.width;
        const float *row = values + y * w.s.width;
        for (int64_t k = 0; k < centres; k++) {
            const double *centre = w.centre.get() + k * fields, dy = y - centre[1];
            if (std::fabs(dy) > reach) continue;
            const int64_t from = std::max<int64_t>(0, static_cast<int64_t>(centre[2] - reach));
            const int64_t to = smaller(w.s.width, static_cast<int64_t>(centre[2] + reach) + 2);
            for (int64_t x = from; x < to; x++) {
                const double dx = x - centre[2];
                const int32_t pixel = place[x];
                if (pixel < 0 || std::fabs(dx) > reach) continue;
                double distance = 0;
                for (int64_t c = 0; c < w.s.channels; c++) {
                    const double off = row[c * pixels + x] - centre[3 + c];
                    distance += off * off;
                }
                distance += weight * (dy * dy + dx * dx);
                if (distance < w.best[pixel]) {
                    w.best[pixel] = distance;
                    w.label[pixel] = k;
                }
            }
        }
    }
}

// Calls a function with the active neighbours of a pixel along its row and its column.
template <class Function>
void each_neighbour(const Work &w, int32_t pixel, Function &&function) {
    const int64_t y = w.y[pixel], x = w.x[pixel];
    const int32_t *here = w.place.get() + y * w.s.width + x;
    if (x > 0 && here[-1] >= 0) function(here[-1]);
    if (x + 1 < w.s.width && here[1] >= 0) function(here[1]);
    if (y > 0 && here[-w.s.width] >= 0) function(here[-w.s.width]);
    if (y + 1 < w.s.height && here[w.s.width] >= 0) function(here[w.s.width]);
}

int32_t root_of(Work &w, int32_t part) {
    while (w.root[part] != part) part = w.root[part] = w.root[w.root[part]];
    return part;
}

// Splits regions into connected parts, in the order of first pixels; returns their number.
int64_t take_apart(Work &w) {
    std::fill_n(w.part.get(), w.count, -1);
    int64_t parts = 0, end = 0;
    for (int32_t i = 0; i < w.count; i++) {
        if (w.part[i] >= 0) continue;
        const int64_t begin = w.first[parts] = end;
        w.part[i] = parts;
        w.member[end++] = i;
        for (int64_t at = begin; at < end; at++)
            each_neighbour(w, w.member[at], [&](int32_t other) {
                if (w.part[other] >= 0 || w.label[other] != w.label[i]) return;
                w.part[other] = parts;
                w.member[end++] = other;
            });
        w.root[parts] = w.order[parts] = parts;
        w.beside[parts] = 0;
        w.size[parts++] = end - begin;
    }
    w.first[parts] = end;
    return parts;
}

// Joins each part that must be joined with a neighbour; returns how many are left.
int64_t join_each(Work &w, int64_t parts, int64_t left, int64_t number, double least) {
    for (int64_t i = 0; i < parts; i++) {
        const int32_t small = w.order[i], own = root_of(w, small);
        if (w.size[own] >= least && left <= number) continue;
        int64_t beside = 0;
        for (int64_t at = w.first[small]; at < w.first[small + 1]; at++)
            each_neighbour(w, w.member[at], [&](int32_t other) {
                const int32_t part = w.part[other];
                if (root_of(w, part) == own) return;
                if (w.beside[part]++ == 0) w.touched[beside++] = part;
            });
        int32_t longest = -1;
        for (int64_t j = 0; j < beside; j++) {
            const int32_t part = w.touched[j];
            if (longest < 0 || w.beside[part] > w.beside[longest] ||
                (w.beside[part] == w.beside[longest] && part < longest))
                longest = part;
        }
        for (int64_t j = 0; j < beside; j++) w.beside[w.touched[j]] = 0;
        if (longest < 0) continue;
        const int32_t other = root_of(w, longest);
        w.size[other] += w.size[own];
        w.root[own] = other;
        left--;
    }
    return left;
}

void join(Work &w, int64_t parts, int64_t number, double least) {
    std::sort(w.order.get(), w.order.get() + parts, [&](int32_t a, int32_t b) {
        return w.size[a] != w.size[b] ? w.size[a] < w.size[b] : a < b;
    });
    // Sizes of parts change as they are joined, but their order does not. In one round, a part whose neighbours have
    // all joined it finds no others; another round joins it.
    int64_t left = parts, before;
    do {
        before = left;
        left = join_each(w, parts, left, number, least);
    } while (left > number && left < before);
}

void cut(Work &w, int64_t image) {
    const Superpixels &s = w.s;
    const float *values = s.values + image * s.channels * w.pixels();
    int64_t *out = s.labels + image * w.pixels();
    std::fill_n(out, w.pixels(), -1);
    find_active(w, s.active + image * w.pixels());
    if (w.count == 0) return;
    const int64_t number = smaller(s.num_regions[image], w.count);
    const double area = static_cast<double>(w.count) / number, side = std::sqrt(area);
    const double ratio = s.compactness / side;
    int64_t labels = start(w, side, area);
    for (int i = 0; i < ITERATIONS; i++) {
        labels = find_centres(w, values, labels);
        assign(w, values, labels, side, ratio * ratio);
    }
    const int64_t parts = take_apart(w);
    const double least = LEAST * w.count / number;
    join(w, parts, number, least);
    int32_t *numbers = w.order.get(), regions = 0;
    std::fill_n(numbers, parts, -1);
    for (int64_t i = 0; i < w.count; i++) {
        const int32_t root = root_of(w, w.part[i]);
        if (w.size[root] < least) continue;
        if (numbers[root] < 0) numbers[root] = regions++;
        out[w.y[i] * s.width + w.x[i]] = numbers[root];
    }
}

}  // namespace

bool cut_into_superpixels(const Superpixels &s, int64_t begin, int64_t end) {
    Work work(s);
    if (!work.complete()) return false;
    for (int64_t image = begin; image < end; image++) cut(work, image);
    return true;
}

}  // namespace grapheme
