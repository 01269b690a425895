// A weighted sum of tensors of one shape, term by term; the kernels of ops/mix.rs.
//
//   X_1 … X_n, of one shape   w [n]   →   Y = Σ_l w_l X_l
//   dX_l = w_l dY             dw_l = Σ X_l ⊙ dY
//
// X_l, Y and dY have `count` values each; the threads of any grid stride over them.

#include "common.cuh"

// y = w x for the first term, y ← y + w x for the others.
extern "C" __global__ void mix_term(
    const float *x, const float *weight, int is_first, float *y, unsigned long long count
) {
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        const float term = *weight * x[i];
        y[i] = is_first ? term : y[i] + term;
    }
}

// The parts of dw_l that each block sums: column l of `sums [blocks, terms]`, of which `sums` is the first value.
extern "C" __global__ void mix_products(
    const float *x, const float *dy, unsigned long long count, int terms, float *sums
) {
    float sum = 0.0f;
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        sum += x[i] * dy[i];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        sums[static_cast<unsigned long long>(blockIdx.x) * terms] = sum;
    }
}
