// Finds the cells of a grid that have contrast, and measures all cells.
#include "kernels.h"
#include "memory.h"

namespace grapheme {

namespace {

struct Sums {
    int64_t values, squares;
};

// The cells of one image, level by level.
struct Cells {
    bool *present;    // [cells]
    float *features;  // [cells, features]
    Sums *sums;       // [channels, cells] of one level after the other
};

// Values of pixels in [0, 1].
struct Shades {
    float of[256];
    constexpr Shades() : of() {
        for (int value = 0; value < 256; value++) of[value] = value / 255.0f;
    }
};
constexpr Shades SHADES;

ALWAYS_INLINE int64_t clamp(int64_t value, int64_t last) { return value < 0 ? 0 : smaller(value, last); }

// Copies the pixels of a fine cell and its margin, channel by channel, with the border repeated; returns whether a
// channel has contrast.
bool measure_fine(const Grid &g, const uint8_t *__restrict image, int64_t row, int64_t column, float *__restrict out) {
    const int64_t side = g.patch + 2 * g.margin, top = row * g.patch - g.margin, left = column * g.patch - g.margin;
    const bool inside = left >= 0 && left + side <= g.width;
    bool active = false;
    for (int64_t channel = 0; channel < g.channels; channel++) {
        int low = 255, high = 0;
        for (int64_t y = 0; y < side; y++, out += side) {
            const uint8_t *line = image + (channel * g.height + clamp(top + y, g.height - 1)) * g.width;
            for (int64_t x = 0; x < side; x++) {
                const int value = line[inside ? left + x : clamp(left + x, g.width - 1)];
                low = value < low ? value : low;
                high = value > high ? value : high;
                out[x] = SHADES.of[value];
            }
        }
        active |= high - low > g.threshold;
    }
    return active;
}

Sums sum_fine(const Grid &g, const uint8_t *__restrict pixels, int64_t row, int64_t column) {
    const int64_t bottom = smaller((row + 1) * g.patch, g.height), right = smaller((column + 1) * g.patch, g.width);
    Sums sums = {};
    for (int64_t y = row * g.patch; y < bottom; y++)
        for (int64_t x = column * g.patch; x < right; x++) {
            const int64_t value = pixels[y * g.width + x];
            sums.values += value;
            sums.squares += value * value;
        }
    return sums;
}

// Returns whether any cell has contrast.
bool measure_finest(const Grid &g, const uint8_t *image, const Cells &cells) {
    const int64_t rows = g.sizes[0], columns = g.sizes[1];
    bool any = false;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = 0; column < columns; column++) {
            const int64_t cell = row * columns + column;
            cells.present[cell] = measure_fine(g, image, row, column, cells.features + cell * g.features);
            any |= cells.present[cell];
            for (int64_t channel = 0; channel < g.channels; channel++)
                cells.sums[channel * rows * columns + cell] =
                    sum_fine(g, image + channel * g.height * g.width, row, column);
        }
    return any;
}

// Computes mean and standard deviation of each channel, in [0, 1]; sums of channels are `pitch` apart.
void describe(const Grid &g, const Sums *sums, int64_t pitch, int64_t area, float *out) {
    for (int64_t channel = 0; channel < g.channels; channel++, sums += pitch) {
        const double size = static_cast<double>(area), mean = sums->values / size;
        const double variance = sums->squares / size - mean * mean;
        out[channel] = static_cast<float>(mean / 255);
        out[g.channels + channel] = static_cast<float>(std::sqrt(variance < 0 ? 0 : variance) / 255);
    }
}

// The number of pixels that a cell of this side covers along an axis.
int64_t extent(int64_t index, int64_t side, int64_t size) { return smaller((index + 1) * side, size) - index * side; }

// A cell is present if one of the 3x3 cells that are part of it is; its sums are over the 2x2 cells that it covers.
void measure_coarse(const Grid &g, int64_t level, const Cells &fine, const Cells &coarse) {
    const int64_t before_rows = g.sizes[2 * level - 2], before = g.sizes[2 * level - 1];
    const int64_t rows = g.sizes[2 * level], columns = g.sizes[2 * level + 1], side = g.patch << level;
    memset(coarse.present, 0, rows * columns);
    memset(coarse.sums, 0, g.channels * rows * columns * sizeof(Sums));
    for (int64_t y = 0; y < before_rows; y++)
        for (int64_t x = 0; x < before; x++) {
            const int64_t cell = y * before + x, whole = y / 2 * columns + x / 2;
            for (int64_t channel = 0; channel < g.channels; channel++) {
                Sums *sums = coarse.sums + channel * rows * columns + whole;
                sums->values += fine.sums[channel * before_rows * before + cell].values;
                sums->squares += fine.sums[channel * before_rows * before + cell].squares;
            }
            if (!fine.present[cell]) continue;
            for (int64_t i = y / 2; i <= (y + 1) / 2 && i < rows; i++)
                for (int64_t j = x / 2; j <= (x + 1) / 2 && j < columns; j++) coarse.present[i * columns + j] = true;
        }
    for (int64_t cell = 0; cell < rows * columns; cell++)
        describe(g, coarse.sums + cell, rows * columns,
                 extent(cell / columns, side, g.height) * extent(cell % columns, side, g.width),
                 coarse.features + cell * g.features);
}

void measure_whole(const Grid &g, const Cells &coarsest, int64_t cells, float *out) {
    for (int64_t channel = 0; channel < g.channels; channel++)
        for (int64_t cell = 1; cell < cells; cell++) {
            Sums *sums = coarsest.sums + channel * cells;
            sums->values += sums[cell].values;
            sums->squares += sums[cell].squares;
        }
    describe(g, coarsest.sums, cells, g.height * g.width, out);
}

}  // namespace

bool measure_images(const Grid &g, int64_t begin, int64_t end) {
    const Array<Sums> memory(g.cells * g.channels);
    if (!memory) return false;
    for (int64_t image = begin; image < end; image++) {
        Cells cells = {g.present + image * g.cells, g.out + image * g.cells * g.features, memory.get()};
        const bool any = measure_finest(g, g.pixels + image * g.channels * g.height * g.width, cells);
        int64_t count = g.sizes[0] * g.sizes[1];
        for (int64_t level = 1; level < g.levels; level++) {
            const Cells fine = cells;
            cells = {fine.present + count, fine.features + count * g.features, fine.sums + count * g.channels};
            measure_coarse(g, level, fine, cells);
            count = g.sizes[2 * level] * g.sizes[2 * level + 1];
        }
        cells.present[count] = !any;
        measure_whole(g, cells, count, cells.features + count * g.features);
    }
    return true;
}

}  // namespace grapheme
