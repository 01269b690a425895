// What the softmax of a row is made of; for softmax.cu and cross_entropy.cu. A block takes a row: all its threads call these
// functions and get the same result, whose order of sums depends on the size of the block alone.
#pragma once

#include "common.cuh"

// The greatest of a row's values, NaN aside.
__device__ __forceinline__ float row_max(const float *row, int columns) {
    float max = __uint_as_float(0xff800000);
    for (int column = threadIdx.x; column < columns; column += blockDim.x) {
        max = fmaxf(max, row[column]);
    }
    return block_max(max);
}

// Σ exp(x − max) over a row.
__device__ __forceinline__ float row_sum_of_exponentials(const float *row, float max, int columns) {
    float sum = 0.0f;
    for (int column = threadIdx.x; column < columns; column += blockDim.x) {
        sum += expf(row[column] - max);
    }
    return block_sum(sum);
}
