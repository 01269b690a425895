// Dropout; the kernel of ops/dropout.rs.
//
//   y = m ⊙ x / (1 − p)     m ∈ {0, 1}, P(m = 0) = p
//
// x and y have `count` values each; the warps of any grid stride over them.

#include "dropout.cuh"

extern "C" __global__ void dropout(
    const float *x, float *y, unsigned long long count, unsigned long long seed, unsigned long long stream,
    unsigned int threshold, float growth
) {
    Dropout dropout(seed, stream, threshold, growth);
    each_value(dropout, count, [&](unsigned long long i, unsigned int place) { y[i] = dropout.value(x[i], place); });
}
