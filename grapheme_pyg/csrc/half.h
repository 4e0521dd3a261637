// Conversion of 16-bit floating-point numbers, which compilers can vectorise.
#pragma once

#include "kernels.h"

namespace grapheme {

struct Bfloat16 {
    uint16_t bits;
};
struct Float16 {
    uint16_t bits;
};

ALWAYS_INLINE float as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

ALWAYS_INLINE uint32_t as_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

ALWAYS_INLINE float widen(float value) { return value; }
ALWAYS_INLINE double widen(double value) { return value; }
ALWAYS_INLINE float widen(Bfloat16 value) { return as_float(static_cast<uint32_t>(value.bits) << 16); }

ALWAYS_INLINE float widen(Float16 value) {
    uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fff) << 13, sign = (value.bits & 0x8000u) << 16;
    // 2^112 compensates for the different exponent biases, also if the exponent is 0.
    float scaled = as_float(magnitude) * as_float(0x77800000);
    uint32_t special = magnitude | 0x7f800000;
    return as_float(sign | (magnitude >= 0x0f800000 ? special : as_bits(scaled)));
}

ALWAYS_INLINE void narrow(float value, float &out) { out = value; }
ALWAYS_INLINE void narrow(double value, double &out) { out = value; }

// Rounds to nearest, ties to even. NaN stays NaN.
ALWAYS_INLINE void narrow(float value, Bfloat16 &out) {
    uint32_t bits = as_bits(value), rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    out.bits = static_cast<uint16_t>(value != value ? 0x7fc0 : rounded);
}

ALWAYS_INLINE void narrow(float value, Float16 &out) {
    uint32_t bits = as_bits(value), sign = bits & 0x80000000, magnitude = bits ^ sign;
    // Below 2^-14 the last bit is 2^-24, and adding 0.5 rounds to it.
    uint32_t small = as_bits(as_float(magnitude) + 0.5f) - 0x3f000000;
    uint32_t usual = (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    uint32_t large = magnitude > 0x7f800000 ? 0x7e00 : 0x7c00;
    uint32_t rounded = magnitude >= 0x477ff000 ? large : magnitude < 0x38800000 ? small : usual;
    out.bits = static_cast<uint16_t>(sign >> 16 | rounded);
}

// max(0, value); NaN stays NaN. A branch would prevent vectorisation of the code that follows.
ALWAYS_INLINE float rectify(float value) {
    return as_float(as_bits(value) & (static_cast<uint32_t>(value < 0) - 1));
}
ALWAYS_INLINE double rectify(double value) { return value < 0 ? 0 : value; }

}  // namespace grapheme
