// Each row as probabilities, or as their logarithms; the kernels of ops/softmax.rs.
//
//   softmax       y = exp(x − max) / Σ exp(x − max)          dx = y (dy − Σ dy y)
//   log_softmax   y = x − max − log Σ exp(x − max)           dx = dy − exp(y) Σ dy
//
// x, y, dy and dx are [rows, columns]; the sums go over the columns. A block takes a row.

#include "softmax.cuh"

extern "C" __global__ void __launch_bounds__(1024)
    softmax_forward(const float *x, float *y, int columns) {
    const unsigned long long first = static_cast<unsigned long long>(blockIdx.x) * columns;
    const float max = row_max(x + first, columns);
    const float sum = row_sum_of_exponentials(x + first, max, columns);
    for (int column = threadIdx.x; column < columns; column += blockDim.x) {
        y[first + column] = expf(x[first + column] - max) / sum;
    }
}

extern "C" __global__ void __launch_bounds__(1024)
    softmax_backward(const float *y, const float *dy, float *dx, int columns) {
    const unsigned long long first = static_cast<unsigned long long>(blockIdx.x) * columns;
    float dot = 0.0f;
    for (int column = threadIdx.x; column < columns; column += blockDim.x) {
        dot += y[first + column] * dy[first + column];
    }
    dot = block_sum(dot);
    for (int column = threadIdx.x; column < columns; column += blockDim.x) {
        dx[first + column] = y[first + column] * (dy[first + column] - dot);
    }
}

extern "C" __global__ void __launch_bounds__(1024)
    log_softmax_forward(const float *x, float *y, int columns) {
    const unsigned long long first = static_cast<unsigned long long>(blockIdx.x) * columns;
    const float max = row_max(x + first, columns);
    const float log_sum = logf(row_sum_of_exponentials(x + first, max, columns));
    for (int column = threadIdx.x; column < columns; column += blockDim.x) {
        y[first + column] = x[first + column] - max - log_sum;
    }
}

extern "C" __global__ void __launch_bounds__(1024)
    log_softmax_backward(const float *y, const float *dy, float *dx, int columns) {
    const unsigned long long first = static_cast<unsigned long long>(blockIdx.x) * columns;
    float sum = 0.0f;
    for (int column = threadIdx.x; column < columns; column += blockDim.x) {
        sum += dy[first + column];
    }
    sum = block_sum(sum);
    for (int column = threadIdx.x; column < columns; column += blockDim.x) {
        dx[first + column] = dy[first + column] - expf(y[first + column]) * sum;
    }
}
