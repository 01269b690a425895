// Sums, means and softmaxes over the rows of each segment; the kernels of ops/segment.
//
//   sum, mean   Y_s = w_s Σ_{i ∈ s} X_i       dX_i = w_s dY_s       w_s = 1, or 1 / |s|
//   softmax     Y_ic = exp(X_ic − m_sc) / Σ_{j ∈ s} exp(X_jc − m_sc)       m_sc = max_{j ∈ s} X_jc
//               dX_ic = Y_ic (dY_ic − Σ_{j ∈ s} Y_jc dY_jc)
//
// X, dX [rows, width]; Y, dY [segments, width] of sum and mean, [rows, width] of the softmax. Segment s is rows
// `offsets[s]..offsets[s + 1]`.

#include "common.cuh"

namespace {

__device__ __forceinline__ float weight(bool is_mean, unsigned int rows) {
    return is_mean ? 1.0f / static_cast<float>(rows) : 1.0f;
}

// Where column `column` of row `row` lies.
__device__ __forceinline__ unsigned long long place(unsigned int row, int width, int column) {
    return static_cast<unsigned long long>(row) * width + column;
}

}  // namespace

// A thread sums a column of a segment, in the order of its rows; a block takes blockDim.x columns.
extern "C" __global__ void __launch_bounds__(128) segment_pool(
    const float *x, const unsigned int *offsets, int width, bool is_mean, float *y
) {
    const unsigned int first = offsets[blockIdx.x];
    const unsigned int end = offsets[blockIdx.x + 1];
    const int column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= width) {
        return;
    }
    const float w = weight(is_mean, end - first);
    float sum = 0.0f;
    // So that several reads are under way at once.
#pragma unroll 8
    for (unsigned int row = first; row < end; ++row) {
        sum += w * x[place(row, width, column)];
    }
    y[place(blockIdx.x, width, column)] = sum;
}

extern "C" __global__ void __launch_bounds__(128) segment_pool_backward(
    const float *dy, const unsigned int *offsets, int width, bool is_mean, float *dx
) {
    const unsigned int first = offsets[blockIdx.x];
    const unsigned int end = offsets[blockIdx.x + 1];
    const int column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= width) {
        return;
    }
    const float value = weight(is_mean, end - first) * dy[place(blockIdx.x, width, column)];
    for (unsigned int row = first; row < end; ++row) {
        dx[place(row, width, column)] = value;
    }
}

// A block takes a segment, each of its warps every so many columns; the lanes stride over the rows.
extern "C" __global__ void __launch_bounds__(256)
    segment_softmax_forward(const float *x, const unsigned int *offsets, int width, float *y) {
    const unsigned int begin = offsets[blockIdx.x] + threadIdx.x % WARP;
    const unsigned int end = offsets[blockIdx.x + 1];
    for (int column = threadIdx.x / WARP; column < width; column += blockDim.x / WARP) {
        float max = __uint_as_float(0xff800000);
        for (unsigned int row = begin; row < end; row += WARP) {
            max = fmaxf(max, x[place(row, width, column)]);
        }
        max = warp_max(max);
        float sum = 0.0f;
        for (unsigned int row = begin; row < end; row += WARP) {
            sum += expf(x[place(row, width, column)] - max);
        }
        sum = warp_sum(sum);
        for (unsigned int row = begin; row < end; row += WARP) {
            y[place(row, width, column)] = expf(x[place(row, width, column)] - max) / sum;
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) segment_softmax_backward(
    const float *y, const float *dy, const unsigned int *offsets, int width, float *dx
) {
    const unsigned int begin = offsets[blockIdx.x] + threadIdx.x % WARP;
    const unsigned int end = offsets[blockIdx.x + 1];
    for (int column = threadIdx.x / WARP; column < width; column += blockDim.x / WARP) {
        float dot = 0.0f;
        for (unsigned int row = begin; row < end; row += WARP) {
            dot += y[place(row, width, column)] * dy[place(row, width, column)];
        }
        dot = warp_sum(dot);
        for (unsigned int row = begin; row < end; row += WARP) {
            const unsigned long long i = place(row, width, column);
            dx[i] = y[i] * (dy[i] - dot);
        }
    }
}
