// The mean of squared differences; the kernels of ops/mean_squared_error.rs.
//
//   loss = share Σ (a − b)²       da = 2 dL share (a − b)       share = 1 / count
//
// a, b and da have `count` values; the threads of any grid stride over them.

#include "common.cuh"

// A loss a block, to be summed: `losses [blocks]`.
extern "C" __global__ void mean_squared_error_forward(
    const float *a, const float *b, float *losses, float share, unsigned long long count
) {
    float sum = 0.0f;
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        const float difference = a[i] - b[i];
        sum += difference * difference;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        losses[blockIdx.x] = share * sum;
    }
}

extern "C" __global__ void mean_squared_error_backward(
    const float *a, const float *b, const float *gradient, float *da, float share, unsigned long long count
) {
    const float factor = 2.0f * share * *gradient;
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        da[i] = factor * (a[i] - b[i]);
    }
}
