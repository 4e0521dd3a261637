// Memory of a kernel's thread, which must not throw.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

namespace grapheme {

template <class T>
struct Free {
    void operator()(T *memory) const { free(memory); }
};

// An uninitialised array, which is null if there is not enough memory.
template <class T>
struct Array : std::unique_ptr<T[], Free<T>> {
    explicit Array(int64_t length) : std::unique_ptr<T[], Free<T>>(static_cast<T *>(malloc(length * sizeof(T) + 1))) {}
};

}  // namespace grapheme
