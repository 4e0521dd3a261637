// Selects the kernels for this CPU.
#include "kernels.h"

#include <cstdlib>

namespace grapheme {

namespace baseline {
extern const Kernels KERNELS;
}
#ifdef GRAPHEME_X86
namespace avx2 {
extern const Kernels KERNELS;
}
namespace avx512 {
extern const Kernels KERNELS;
}
namespace avx512bf16 {
extern const Products PRODUCTS_OF_PAIRS;
}
#endif

namespace {

struct Choice {
    const Kernels *kernels = &baseline::KERNELS;
    const Products *bfloat16 = nullptr;
};

Choice choose() {
    Choice choice;
#ifdef GRAPHEME_X86
    const char *limit = std::getenv("GRAPHEME_CPU");
    if (limit && strcmp(limit, "baseline") == 0) return choice;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c"))
        return choice;
    choice.kernels = &avx2::KERNELS;
    if (limit && strcmp(limit, "avx2") == 0) return choice;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl"))
        return choice;
    choice.kernels = &avx512::KERNELS;
    if (__builtin_cpu_supports("avx512bf16")) choice.bfloat16 = &avx512bf16::PRODUCTS_OF_PAIRS;
#endif
    return choice;
}

const Choice &choice() {
    static const Choice chosen = choose();
    return chosen;
}

}  // namespace

const Kernels &kernels() { return *choice().kernels; }

const Products *bfloat16_products() { return choice().bfloat16; }

}  // namespace grapheme
