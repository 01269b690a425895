// What a linear layer needs beside products, which are cuBLASLt's; the kernels of ops/linear.rs.

#include "common.cuh"

// Sums of rows of `x [rows, columns]`: `rows_a_block` rows at a time into `sums [⌈rows / rows_a_block⌉, columns]`.
//
// A block of 256 threads sums 32 columns of its rows: each warp every eighth row, then the warps' sums are added in order.
extern "C" __global__ void __launch_bounds__(256)
    sum_over_rows(const float *x, int rows, int columns, int rows_a_block, float *sums) {
    constexpr int WARPS = 8;
    __shared__ float of_warp[WARPS][WARP];
    const int lane = threadIdx.x % WARP;
    const int warp = threadIdx.x / WARP;
    const int column = blockIdx.x * WARP + lane;
    const int first = blockIdx.y * rows_a_block;
    const int end = min(rows, first + rows_a_block);
    float sum = 0.0f;
    if (column < columns) {
        for (int row = first + warp; row < end; row += WARPS) {
            sum += x[static_cast<unsigned long long>(row) * columns + column];
        }
    }
    of_warp[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && column < columns) {
        for (int other = 1; other < WARPS; ++other) {
            sum += of_warp[other][lane];
        }
        sums[static_cast<unsigned long long>(blockIdx.y) * columns + column] = sum;
    }
}

// result [rows, columns] ← result + bias [columns], of `count` values in all.
extern "C" __global__ void
    add_bias(float *result, const float *bias, int columns, unsigned long long count) {
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        result[i] += bias[i % columns];
    }
}

// The nearest bf16 of each value, ties to even; NaN stays NaN.
extern "C" __global__ void round_to_bf16(const float *x, unsigned short *rounded, unsigned long long count) {
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        const unsigned int bits = __float_as_uint(x[i]);
        const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
        const unsigned int nearest = bits + 0x7fff + (bits >> 16 & 1);
        rounded[i] = static_cast<unsigned short>(is_nan ? bits >> 16 | 0x40 : nearest >> 16);
    }
}
