// The negative log-likelihood of each row's target, averaged; the kernels of ops/cross_entropy.
//
//   p = softmax(row of x)                       x, dx [rows, classes]   targets [rows]   weights [classes], or null: all 1
//   q_c = of_each w_c + of_target w_t [c = t]   of_each = ε / classes   of_target = 1 − ε
//   loss = share Σ_c −q_c log p_c               a row's part of the average; 0 where the target is IGNORED
//   dx = dL share (p Σ_c q_c − q)
//
// Kept for the backward: the greatest logit of each row, and Σ_c exp(x_c − max). A block takes a row.

#include "softmax.cuh"

namespace {

constexpr unsigned int IGNORED = 0xffffffff;

__device__ __forceinline__ float weight(const float *weights, unsigned int of_class) {
    return weights == nullptr ? 1.0f : weights[of_class];
}

}  // namespace

extern "C" __global__ void __launch_bounds__(1024) cross_entropy_forward(
    const float *x,
    const unsigned int *targets,
    const float *weights,
    unsigned int classes,
    float of_target,
    float of_each,
    float share,
    float *losses,
    float2 *maxima_and_sums
) {
    const float *row = x + static_cast<unsigned long long>(blockIdx.x) * classes;
    const unsigned int target = targets[blockIdx.x];
    if (target == IGNORED) {
        if (threadIdx.x == 0) {
            losses[blockIdx.x] = 0.0f;
            maxima_and_sums[blockIdx.x] = make_float2(0.0f, 1.0f);
        }
        return;
    }
    const float max = row_max(row, classes);
    const float sum = row_sum_of_exponentials(row, max, classes);
    const float log_sum = logf(sum);
    float loss = 0.0f;
    // Without smoothing the other classes have no part, not even 0 · ∞ of a logit of −∞.
    if (of_each > 0.0f) {
        for (unsigned int c = threadIdx.x; c < classes; c += blockDim.x) {
            loss += of_each * weight(weights, c) * (log_sum - (row[c] - max));
        }
        loss = block_sum(loss);
    }
    if (threadIdx.x == 0) {
        loss += of_target * weight(weights, target) * (log_sum - (row[target] - max));
        losses[blockIdx.x] = share * loss;
        maxima_and_sums[blockIdx.x] = make_float2(max, sum);
    }
}

// `of_all` is Σ_c of_each w_c, `gradient` the place of dL.
extern "C" __global__ void __launch_bounds__(1024) cross_entropy_backward(
    const float *x,
    const unsigned int *targets,
    const float *weights,
    unsigned int classes,
    float of_target,
    float of_each,
    float share,
    float of_all,
    const float2 *maxima_and_sums,
    const float *gradient,
    float *dx
) {
    const unsigned long long first = static_cast<unsigned long long>(blockIdx.x) * classes;
    const unsigned int target = targets[blockIdx.x];
    if (target == IGNORED) {
        for (unsigned int c = threadIdx.x; c < classes; c += blockDim.x) {
            dx[first + c] = 0.0f;
        }
        return;
    }
    const float2 max_and_sum = maxima_and_sums[blockIdx.x];
    const float scale = share * *gradient;
    const float q_of_target = of_target * weight(weights, target);
    const float factor = (q_of_target + of_all) / max_and_sum.y;
    for (unsigned int c = threadIdx.x; c < classes; c += blockDim.x) {
        const float q = of_each * weight(weights, c) + (c == target ? q_of_target : 0.0f);
        dx[first + c] = scale * (factor * expf(x[first + c] - max_and_sum.x) - q);
    }
}
