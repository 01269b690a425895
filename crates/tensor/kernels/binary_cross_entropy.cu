// Yes or no for each value, averaged; the kernels of ops/binary_cross_entropy.rs.
//
//   loss = share Σ (max(x, 0) − x t + log(1 + e^−|x|))       dx = dL share (σ(x) − t)       share = 1 / count
//
// x, t and dx have `count` values; the threads of any grid stride over them.

#include "common.cuh"

// A loss a block, to be summed: `losses [blocks]`. A target outside [0, 1] makes it NaN.
extern "C" __global__ void binary_cross_entropy_forward(
    const float *x, const float *t, float *losses, float share, unsigned long long count
) {
    float loss = 0.0f;
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        const bool is_probability = t[i] >= 0.0f && t[i] <= 1.0f;
        const float term = fmaxf(x[i], 0.0f) - x[i] * t[i] + log1pf(expf(-fabsf(x[i])));
        loss += is_probability ? term : __uint_as_float(0x7fc00000);
    }
    loss = block_sum(loss);
    if (threadIdx.x == 0) {
        losses[blockIdx.x] = share * loss;
    }
}

extern "C" __global__ void binary_cross_entropy_backward(
    const float *x, const float *t, const float *gradient, float *dx, float share, unsigned long long count
) {
    const float scale = share * *gradient;
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        dx[i] = scale * (1.0f / (1.0f + expf(-x[i])) - t[i]);
    }
}
