/* Which cells of a grid have contrast, and what their pixels say. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

static int64_t clamp(int64_t value, int64_t last) { return value < 0 ? 0 : value > last ? last : value; }

/* Pixels of a fine cell and of its margin, channel by channel, in [0, 1]; whether one channel has contrast. */
static int measure_fine(const Grid *g, const uint8_t *image, int64_t row, int64_t column, float *out) {
    int64_t side = g->patch + 2 * g->margin, top = row * g->patch - g->margin, left = column * g->patch - g->margin;
    int active = 0;
    for (int64_t channel = 0; channel < g->channels; channel++) {
        const uint8_t *pixels = image + channel * g->height * g->width;
        int low = 255, high = 0;
        for (int64_t y = 0; y < side; y++) {
            const uint8_t *line = pixels + clamp(top + y, g->height - 1) * g->width;
            for (int64_t x = 0; x < side; x++) {
                int value = line[clamp(left + x, g->width - 1)];
                low = value < low ? value : low;
                high = value > high ? value : high;
                *out++ = value / 255.0f;
            }
        }
        active |= high - low > g->threshold;
    }
    return active;
}

/* Mean and standard deviation from a sum and a sum of squares, in [0, 1]. */
static void describe(int64_t sum, int64_t squares, double area, float *mean, float *spread) {
    double average = sum / area, variance = squares / area - average * average;
    *mean = (float)(average / 255);
    *spread = (float)(sqrt(variance < 0 ? 0 : variance) / 255);
}

/* Pixels of the image that a cell of this side covers along an axis. */
static int64_t extent(int64_t index, int64_t side, int64_t size) {
    int64_t stop = (index + 1) * side;
    return (stop < size ? stop : size) - index * side;
}

static void measure_image(const Grid *g, const uint8_t *image, uint8_t *present, float *features, int64_t *sums) {
    int64_t cells = g->rows[0] * g->columns[0], channels = g->channels;
    int64_t (*total)[2] = (int64_t(*)[2])sums;
    int any = 0;
    for (int64_t row = 0; row < g->rows[0]; row++)
        for (int64_t column = 0; column < g->columns[0]; column++) {
            int64_t cell = row * g->columns[0] + column;
            present[cell] = (uint8_t)measure_fine(g, image, row, column, features + cell * g->features);
            any |= present[cell];
        }
    for (int64_t channel = 0; channel < channels; channel++)
        for (int64_t y = 0; y < g->height; y++)
            for (int64_t x = 0; x < g->width; x++) {
                int64_t value = image[(channel * g->height + y) * g->width + x];
                int64_t cell = y / g->patch * g->columns[0] + x / g->patch;
                total[channel * cells + cell][0] += value;
                total[channel * cells + cell][1] += value * value;
            }
    int64_t side = g->patch;
    for (int64_t level = 1; level < g->levels; level++) {
        int64_t rows = g->rows[level], columns = g->columns[level], before = g->columns[level - 1];
        int64_t last = cells;
        int64_t (*coarse)[2] = total + channels * last;
        const uint8_t *fine = present;
        present += last;
        features += last * g->features;
        cells = rows * columns;
        side *= 2;
        memset(present, 0, cells);
        for (int64_t cell = 0; cell < last; cell++) {
            int64_t y = cell / before, x = cell % before, of = y / 2 * columns + x / 2;
            for (int64_t channel = 0; channel < channels; channel++)
                for (int k = 0; k < 2; k++) coarse[channel * cells + of][k] += total[channel * last + cell][k];
            /* Part of every coarse cell within whose 3x3 cells it lies. */
            if (fine[cell])
                for (int64_t i = y / 2; i <= (y + 1) / 2 && i < rows; i++)
                    for (int64_t j = x / 2; j <= (x + 1) / 2 && j < columns; j++) present[i * columns + j] = 1;
        }
        total = coarse;
        for (int64_t cell = 0; cell < cells; cell++) {
            float *out = features + cell * g->features;
            double area = (double)(extent(cell / columns, side, g->height) * extent(cell % columns, side, g->width));
            for (int64_t channel = 0; channel < channels; channel++)
                describe(total[channel * cells + cell][0], total[channel * cells + cell][1], area, out + channel,
                         out + channels + channel);
        }
    }
    present[cells] = !any;
    features += cells * g->features;
    for (int64_t channel = 0; channel < channels; channel++) {
        int64_t whole[2] = {0, 0};
        for (int64_t cell = 0; cell < cells; cell++)
            for (int k = 0; k < 2; k++) whole[k] += total[channel * cells + cell][k];
        describe(whole[0], whole[1], (double)(g->height * g->width), features + channel, features + channels + channel);
    }
}

int measure_cells(const Grid *g, const uint8_t *pixels, int64_t images, uint8_t *present, float *features, int threads) {
    int64_t cells = 1, enough = 1;
    for (int64_t level = 0; level < g->levels; level++) cells += g->rows[level] * g->columns[level];
#pragma omp parallel num_threads(threads) reduction(&& : enough)
    {
        size_t size = 2 * cells * g->channels * sizeof(int64_t);
        int64_t *sums = malloc(size);
        enough = sums != NULL;
#pragma omp for
        for (int64_t image = 0; image < images; image++) {
            if (!sums) continue;
            memset(sums, 0, size);
            measure_image(g, pixels + image * g->channels * g->height * g->width, present + image * cells,
                          features + image * cells * g->features, sums);
        }
        free(sums);
    }
    return (int)enough;
}
