// Finds the cells of a grid that have contrast, and measures all cells.
#include "kernels.h"
#include "memory.h"

namespace grapheme {

namespace {

struct Sums {
    int64_t values, squares;
};

// One image in the upper left corner of the canvas.
struct Image {
    int64_t height, width;
    const uint8_t *pixels;  // [channels, height, width] of the canvas
};

// The cells of one level of an image, which are the upper left ones of the canvas.
struct Cells {
    int64_t rows, columns, pitch, whole;  // pitch and whole number of cells are those of the canvas
    bool *present;                        // [cells]
    float *features;                      // [cells, features]
    Sums *sums;                           // [channels, cells]
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
bool measure_fine(const Grid &g, const Image &image, int64_t row, int64_t column, float *__restrict out) {
    const int64_t side = g.patch + 2 * g.margin, top = row * g.patch - g.margin, left = column * g.patch - g.margin;
    const bool inside = left >= 0 && left + side <= image.width;
    bool active = false;
    for (int64_t channel = 0; channel < g.channels; channel++) {
        int low = 255, high = 0;
        for (int64_t y = 0; y < side; y++, out += side) {
            const uint8_t *__restrict line =
                image.pixels + (channel * g.height + clamp(top + y, image.height - 1)) * g.width;
            for (int64_t x = 0; x < side; x++) {
                const int value = line[inside ? left + x : clamp(left + x, image.width - 1)];
                low = value < low ? value : low;
                high = value > high ? value : high;
                out[x] = SHADES.of[value];
            }
        }
        active |= high - low > g.threshold;
    }
    return active;
}

Sums sum_fine(const Grid &g, const Image &image, int64_t channel, int64_t row, int64_t column) {
    const int64_t bottom = smaller((row + 1) * g.patch, image.height);
    const int64_t right = smaller((column + 1) * g.patch, image.width);
    const uint8_t *__restrict pixels = image.pixels + channel * g.height * g.width;
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
bool measure_finest(const Grid &g, const Image &image, const Cells &cells) {
    bool any = false;
    for (int64_t row = 0; row < cells.rows; row++)
        for (int64_t column = 0; column < cells.columns; column++) {
            const int64_t cell = row * cells.pitch + column;
            cells.present[cell] = measure_fine(g, image, row, column, cells.features + cell * g.features);
            any |= cells.present[cell];
            for (int64_t channel = 0; channel < g.channels; channel++)
                cells.sums[channel * cells.whole + cell] = sum_fine(g, image, channel, row, column);
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
void measure_coarse(const Grid &g, const Image &image, int64_t side, const Cells &fine, const Cells &coarse) {
    memset(coarse.sums, 0, g.channels * coarse.whole * sizeof(Sums));
    for (int64_t y = 0; y < fine.rows; y++)
        for (int64_t x = 0; x < fine.columns; x++) {
            const int64_t cell = y * fine.pitch + x, covers = y / 2 * coarse.pitch + x / 2;
            for (int64_t channel = 0; channel < g.channels; channel++) {
                Sums *sums = coarse.sums + channel * coarse.whole + covers;
                sums->values += fine.sums[channel * fine.whole + cell].values;
                sums->squares += fine.sums[channel * fine.whole + cell].squares;
            }
            if (!fine.present[cell]) continue;
            for (int64_t i = y / 2; i <= (y + 1) / 2 && i < coarse.rows; i++)
                for (int64_t j = x / 2; j <= (x + 1) / 2 && j < coarse.columns; j++)
                    coarse.present[i * coarse.pitch + j] = true;
        }
    for (int64_t y = 0; y < coarse.rows; y++)
        for (int64_t x = 0; x < coarse.columns; x++) {
            const int64_t cell = y * coarse.pitch + x;
            describe(g, coarse.sums + cell, coarse.whole, extent(y, side, image.height) * extent(x, side, image.width),
                     coarse.features + cell * g.features);
        }
}

void measure_whole(const Grid &g, const Image &image, const Cells &coarsest, float *out) {
    for (int64_t channel = 0; channel < g.channels; channel++) {
        Sums *sums = coarsest.sums + channel * coarsest.whole;
        for (int64_t y = 0; y < coarsest.rows; y++)
            for (int64_t x = y == 0; x < coarsest.columns; x++) {
                sums->values += sums[y * coarsest.pitch + x].values;
                sums->squares += sums[y * coarsest.pitch + x].squares;
            }
    }
    describe(g, coarsest.sums, coarsest.whole, image.height * image.width, out);
}

}  // namespace

bool measure_images(const Grid &g, int64_t begin, int64_t end) {
    const Array<Sums> memory(g.cells * g.channels);
    if (!memory) return false;
    for (int64_t i = begin; i < end; i++) {
        const Image image = {g.sizes[3 * i], g.sizes[3 * i + 1], g.pixels + i * g.channels * g.height * g.width};
        bool *const present = g.present + i * g.cells;
        float *const features = g.out + i * g.cells * g.features;
        memset(present, 0, g.cells);
        Cells cells = {(image.height + g.patch - 1) / g.patch, (image.width + g.patch - 1) / g.patch, g.grids[1],
                       g.grids[0] * g.grids[1], present, features, memory.get()};
        const bool any = measure_finest(g, image, cells);
        for (int64_t level = 1; level < g.sizes[3 * i + 2]; level++) {
            const Cells fine = cells;
            const int64_t *grid = g.grids + 2 * level;
            cells = {(fine.rows + 1) / 2, (fine.columns + 1) / 2, grid[1], grid[0] * grid[1], fine.present + fine.whole,
                     fine.features + fine.whole * g.features, fine.sums + fine.whole * g.channels};
            measure_coarse(g, image, g.patch << level, fine, cells);
        }
        present[g.cells - 1] = !any;
        measure_whole(g, image, cells, features + (g.cells - 1) * g.features);
    }
    return true;
}

}  // namespace grapheme
