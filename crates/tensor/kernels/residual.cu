// A block's result added to what it read, with dropout between; the kernels of ops/residual.rs.
//
//   X, S [rows, width]   g, b [width]   →   Y [rows, width]
//   U = X + m ⊙ S / (1 − p)                  m ∈ {0, 1}, P(m = 0) = p
//   residual              Y = U
//   residual_layer_norm   Y = g ⊙ Û + b      Û: the rows of U, normalised
//
// The backward of the second is layer_norm_backward.

#include "dropout.cuh"
#include "layer_norm.cuh"

// Of any shape with `count` values; the warps of any grid stride over them.
extern "C" __global__ void residual(
    const float *x, const float *branch, float *y, unsigned long long count, unsigned long long seed,
    unsigned long long stream, unsigned int threshold, float growth
) {
    Dropout dropout(seed, stream, threshold, growth);
    each_value(dropout, count, [&](unsigned long long i, unsigned int place) {
        y[i] = x[i] + dropout.value(branch[i], place);
    });
}

// U, Y, and μ and 1/σ of each row of U, `statistics [rows, 2]`. A block a row.
extern "C" __global__ void __launch_bounds__(512) residual_layer_norm(
    const float *x, const float *branch, const float *gain, const float *bias, int width, float epsilon, float *sum,
    float *y, float *statistics, unsigned long long seed, unsigned long long stream, unsigned int threshold,
    float growth
) {
    const unsigned long long start = static_cast<unsigned long long>(blockIdx.x) * width;
    Row row(sum + start);
    Dropout dropout(seed, stream, threshold, growth);
    const auto begin = [&](int first) { dropout.draw(start + first); };
    each_column(width, begin, [&](int column, int slot) {
        const unsigned long long i = start + column;
        const float value = x[i] + dropout.value(branch[i], column % CHUNK);
        sum[i] = value;
        row.keep(slot, value);
    });
    normalise(row, gain, bias, width, epsilon, y + start, statistics + 2ull * blockIdx.x);
}
