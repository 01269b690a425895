// Rotary position embedding; the kernel of ops/rotary.rs.
//
//   rows of Q, K, V side by side [tokens, columns]   →   the same, Q and K turned, V as it is
//   of a head of d columns, and a token at place p of its text, for i < d / 2
//   φ_i = direction · p · frequency_i
//   Y_i = X_i cos φ_i − X_{i + d/2} sin φ_i        Y_{i + d/2} = X_{i + d/2} cos φ_i + X_i sin φ_i
//
// Text t is rows offsets[t] … offsets[t + 1] − 1. blockIdx.x is the text; its rows are shared among the blocks of
// blockIdx.y and their warps, a row by one warp.

#include "common.cuh"

extern "C" __global__ void rotary(
    const float *x, const unsigned int *offsets, const float *frequencies, int columns, int head_width, float direction,
    float *y
) {
    const long long begin = offsets[blockIdx.x];
    const long long end = offsets[blockIdx.x + 1];
    const int warps = blockDim.x / WARP;
    const int lane = threadIdx.x % WARP;
    const int half = head_width / 2;
    const int turned = columns / 3 * 2;
    for (long long row = begin + blockIdx.y * warps + threadIdx.x / WARP; row < end; row += gridDim.y * warps) {
        const float *x_row = x + row * columns;
        float *y_row = y + row * columns;
        for (int i = lane; i < half; i += WARP) {
            float sin, cos;
            sincosf(static_cast<float>(row - begin) * frequencies[i], &sin, &cos);
            sin *= direction;
            for (int column = i; column < turned; column += head_width) {
                const float left = x_row[column];
                const float right = x_row[column + half];
                y_row[column] = left * cos - right * sin;
                y_row[column + half] = right * cos + left * sin;
            }
        }
        for (int column = turned + lane; column < columns; column += WARP) {
            y_row[column] = x_row[column];
        }
    }
}
