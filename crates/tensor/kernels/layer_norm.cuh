// Rows that are normalised, a row by one block; what layer_norm.cu and residual.cu share.
#pragma once

#include "common.cuh"

// Neighbouring columns that a warp has at once, four by each lane.
constexpr int CHUNK = 4 * WARP;
// Values of a row that a thread keeps in registers; further ones it reads again.
constexpr int KEPT = 8;

template <typename Begin, typename Function>
__device__ __forceinline__ void each_column_of_chunk(int first, int width, int slot, Begin begin, Function function) {
    begin(first);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int column = first + i * static_cast<int>(WARP) + threadIdx.x % WARP;
        if (column < width) {
            function(column, slot + i);
        }
    }
}

// Calls `function(column, slot)` for the columns of a row that belong to the thread, the same ones in the same order every
// time. The first have slots from 0 to KEPT − 1, which are constants after inlining, the others any beyond. Before each
// chunk of columns the whole warp calls `begin(first column)`.
template <typename Begin, typename Function>
__device__ __forceinline__ void each_column(int width, Begin begin, Function function) {
    int first = threadIdx.x / WARP * CHUNK;
    const int step = blockDim.x / WARP * CHUNK;
#pragma unroll
    for (int slot = 0; slot < KEPT; slot += 4) {
        if (first < width) {
            each_column_of_chunk(first, width, slot, begin, function);
        }
        first += step;
    }
    for (; first < width; first += step) {
        each_column_of_chunk(first, width, KEPT, begin, function);
    }
}

template <typename Function>
__device__ __forceinline__ void each_column(int width, Function function) {
    each_column(width, [](int) {}, function);
}

// A row in memory, the first values of each thread in registers too.
struct Row {
    const float *memory;
    float kept[KEPT];

    __device__ __forceinline__ explicit Row(const float *memory) : memory(memory) {}

    __device__ __forceinline__ void keep(int slot, float value) {
        if (slot < KEPT) {
            kept[slot] = value;
        }
    }

    __device__ __forceinline__ float at(int column, int slot) const {
        return slot < KEPT ? kept[slot] : memory[column];
    }
};

// y = g ⊙ (x − μ) / σ + b of a row; `statistics` becomes μ and 1/σ.
__device__ __forceinline__ void normalise(
    const Row &x, const float *gain, const float *bias, int width, float epsilon, float *y, float *statistics
) {
    float sum = 0.0f;
    each_column(width, [&](int column, int slot) { sum += x.at(column, slot); });
    const float mean = block_sum(sum) / width;
    float squares = 0.0f;
    each_column(width, [&](int column, int slot) {
        const float distance = x.at(column, slot) - mean;
        squares += distance * distance;
    });
    const float inverse_deviation = 1.0f / sqrtf(block_sum(squares) / width + epsilon);
    each_column(width, [&](int column, int slot) {
        y[column] = (x.at(column, slot) - mean) * inverse_deviation * gain[column] + bias[column];
    });
    if (threadIdx.x == 0) {
        statistics[0] = mean;
        statistics[1] = inverse_deviation;
    }
}
