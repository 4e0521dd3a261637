// Normalises grey images relative to their ground, in the same steps as ops/ground.py.
#include <algorithm>

#include "kernels.h"
#include "memory.h"

namespace grapheme {

namespace {

// Buffers of one image; `padded` has one more row and column on each side, with the border repeated.
struct Levels {
    int64_t height, width, frame, brightest;
    int16_t *padded, *levels, *mean, *work, *row;
};

// Pads rows that are `pitch` apart.
template <class Pixel>
void pad(const Levels &l, const Pixel *pixels, int64_t pitch) {
    for (int64_t y = 0; y < l.height + 2; y++) {
        const Pixel *line = pixels + (y == 0 ? 0 : smaller(y - 1, l.height - 1)) * pitch;
        int16_t *to = l.padded + y * (l.width + 2);
        to[0] = line[0];
        for (int64_t x = 0; x < l.width; x++) to[x + 1] = line[x];
        to[l.width + 1] = line[l.width - 1];
    }
}

// Applies the weights outer, inner, outer along both axes.
void weigh(const Levels &l, int16_t outer, int16_t inner, int16_t *__restrict out) {
    const int64_t pitch = l.width + 2;
    for (int64_t y = 0; y < l.height; y++, out += l.width) {
        const int16_t *above = l.padded + y * pitch;
        int16_t *__restrict row = l.row;
        for (int64_t x = 0; x < pitch; x++)
            row[x] = outer * (above[x] + above[x + 2 * pitch]) + inner * above[x + pitch];
        for (int64_t x = 0; x < l.width; x++) out[x] = outer * (row[x] + row[x + 2]) + inner * row[x + 1];
    }
}

ALWAYS_INLINE int16_t less(int16_t a, int16_t b) { return a < b ? a : b; }
ALWAYS_INLINE int16_t more(int16_t a, int16_t b) { return a < b ? b : a; }

// Clamps each pixel between the second smallest and the second largest of its eight neighbours.
void without_specks(const Levels &l) {
    const int64_t pitch = l.width + 2;
    const int64_t around[8] = {0, 1, 2, pitch, pitch + 2, 2 * pitch, 2 * pitch + 1, 2 * pitch + 2};
    for (int64_t y = 0; y < l.height; y++) {
        const int16_t *corner = l.padded + y * pitch;
        int16_t *__restrict out = l.levels + y * l.width;
        for (int64_t x = 0; x < l.width; x++) {
            int16_t least = INT16_MAX, second_least = INT16_MAX, most = INT16_MIN, second_most = INT16_MIN;
            for (int64_t place : around) {
                const int16_t level = corner[x + place];
                second_least = less(second_least, more(least, level));
                least = less(least, level);
                second_most = more(second_most, less(most, level));
                most = more(most, level);
            }
            out[x] = less(more(corner[x + pitch + 1], second_least), second_most);
        }
    }
}

// Returns the value at this place in ascending order.
int16_t ordered(int16_t *values, int64_t count, int64_t place) {
    std::nth_element(values, values + place, values + count);
    return values[place];
}

int16_t twice_median_of_frame(const Levels &l) {
    int64_t count = 0;
    for (int64_t y = 0; y < l.height; y++) {
        const bool whole = y < l.frame || y >= l.height - l.frame;
        for (int64_t x = 0; x < l.width; x++)
            if (whole || x < l.frame || x >= l.width - l.frame) l.work[count++] = l.levels[y * l.width + x];
    }
    const int16_t upper = ordered(l.work, count, count / 2);
    return upper + (count % 2 ? upper : *std::max_element(l.work, l.work + count / 2));
}

void relate(const Ground &g, const Levels &l, const uint8_t *pixels, uint8_t *__restrict out) {
    const int64_t size = l.height * l.width;
    pad(l, pixels, g.width);
    weigh(l, 1, -2, l.work);
    for (int64_t i = 0; i < size; i++) l.work[i] = l.work[i] < 0 ? -l.work[i] : l.work[i];
    const float noise = ordered(l.work, size, (size - 1) / 2);

    without_specks(l);
    const int16_t ground = twice_median_of_frame(l);
    for (int64_t i = 0; i < size; i++) l.levels[i] = 2 * l.levels[i] - ground;
    pad(l, l.levels, l.width);
    weigh(l, 1, 2, l.mean);
    int64_t skewness = 0;
    for (int64_t i = 0; i < size; i++) skewness += static_cast<int64_t>(l.mean[i]) * l.mean[i] * l.mean[i];
    const int16_t side = skewness < 0 ? -1 : 1;
    for (int64_t i = 0; i < size; i++) {
        l.levels[i] *= side;
        l.work[i] = l.mean[i] *= side;
    }
    const float reached = ordered(l.work, size, size - l.brightest) / 16.0f;
    const float contrast = reached < 2 * g.least_contrast ? 2 * g.least_contrast : reached;
    const float least = g.cut * noise;
    for (int64_t y = 0, i = 0; y < l.height; y++)
        for (int64_t x = 0; x < l.width; x++, i++) {
            const float level = std::nearbyint(static_cast<float>(l.levels[i]) * 255 / contrast);
            const uint8_t drawn = static_cast<uint8_t>(level < 0 ? 0 : level > 255 ? 255 : level);
            out[y * g.width + x] = l.mean[i] > least ? drawn : 0;
        }
}

}  // namespace

bool relate_to_ground(const Ground &g, int64_t begin, int64_t end) {
    const int64_t size = g.height * g.width, pitch = g.width + 2;
    const Array<int16_t> array(3 * size + (g.height + 3) * pitch);
    if (!array) return false;
    int16_t *memory = array.get();
    for (int64_t image = begin; image < end; image++) {
        const int64_t *own = g.sizes + 4 * image;
        const Levels l = {own[0], own[1], own[2], own[3], memory + 3 * size, memory, memory + size, memory + 2 * size,
                          memory + 3 * size + (g.height + 2) * pitch};
        relate(g, l, g.pixels + image * size, g.out + image * size);
    }
    return true;
}

}  // namespace grapheme
