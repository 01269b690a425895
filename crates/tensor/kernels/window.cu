// Each row beside its neighbours; the kernels of ops/window.rs.
//
//   X [rows, width], r   →   Y [rows, (2r + 1) width]
//   Y_i = [X_{i−r} … X_i … X_{i+r}], zeros where a neighbour lies beyond i's segment
//   dX_j = Σ_{i = j−r}^{j+r} dY_i's part for place j − i + r, over i in j's segment
//
// Segment s is rows offsets[s] … offsets[s + 1] − 1. blockIdx.x is the segment; its rows are shared among the blocks of
// blockIdx.y and their warps, a row by one warp.

#include "common.cuh"

extern "C" __global__ void window_forward(
    const float *x, const unsigned int *offsets, int width, int radius, float *y
) {
    const long long begin = offsets[blockIdx.x];
    const long long end = offsets[blockIdx.x + 1];
    const int warps = blockDim.x / WARP;
    const int columns = (2 * radius + 1) * width;
    for (long long row = begin + blockIdx.y * warps + threadIdx.x / WARP; row < end; row += gridDim.y * warps) {
        // The neighbours lie one after another in X as in Y.
        const long long first = (row - radius) * width;
        for (int column = threadIdx.x % WARP; column < columns; column += WARP) {
            const long long i = first + column;
            y[row * columns + column] = i >= begin * width && i < end * width ? x[i] : 0.0f;
        }
    }
}

extern "C" __global__ void window_backward(
    const float *dy, const unsigned int *offsets, int width, int radius, float *dx
) {
    const long long begin = offsets[blockIdx.x];
    const long long end = offsets[blockIdx.x + 1];
    const int warps = blockDim.x / WARP;
    const int places = 2 * radius + 1;
    for (long long row = begin + blockIdx.y * warps + threadIdx.x / WARP; row < end; row += gridDim.y * warps) {
        const long long first = max(begin, row - radius);
        const long long last = min(end - 1, row + radius);
        for (int column = threadIdx.x % WARP; column < width; column += WARP) {
            float sum = 0.0f;
            for (long long i = first; i <= last; ++i) {
                sum += dy[(i * places + row - i + radius) * width + column];
            }
            dx[row * width + column] = sum;
        }
    }
}
