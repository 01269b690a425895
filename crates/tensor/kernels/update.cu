// What a training step does to all parameters at once: the norm of their gradients, the optimizer, the average. The kernels
// of src/update.rs.
//
// All parameters together are cut into parts, one block each, so that one launch serves them all whatever their sizes.

#include "common.cuh"

// Some values of one parameter; what a kernel does not need is null or 0.
struct Part {
    float *values;
    const float *other;
    float *first_slot;
    float *second_slot;
    unsigned long long count;
    // Numbers of the optimizer that differ from parameter to parameter.
    float numbers[4];
};

// squares[part] = Σ of the squares of `other`.
extern "C" __global__ void __launch_bounds__(256) sum_of_squares(const Part *parts, float *squares) {
    const Part part = parts[blockIdx.x];
    float sum = 0.0f;
    for (unsigned long long i = threadIdx.x; i < part.count; i += blockDim.x) {
        sum += part.other[i] * part.other[i];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        squares[blockIdx.x] = sum;
    }
}

// norm[0] = √ Σ squares / terms; norm[1] = what gradients are multiplied by: min(1, max_norm / norm[0]) / terms. No clipping
// where max_norm is 0.
extern "C" __global__ void __launch_bounds__(1024)
    norm_and_factor(const float *squares, int count, float terms, float max_norm, float *norm) {
    float sum = 0.0f;
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        sum += squares[i];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        norm[0] = sqrtf(sum) / terms;
        const bool is_clipped = max_norm > 0.0f && norm[0] > max_norm;
        norm[1] = (is_clipped ? max_norm / norm[0] : 1.0f) / terms;
    }
}

__device__ __forceinline__ bool is_finite(float value) {
    return fabsf(value) < __uint_as_float(0x7f800000);
}

// m ← β₁ m + (1 − β₁) g      v ← β₂ v + (1 − β₂) g²      p ← keep p − rate m / (scale √v + ε)
//
// with g = norm[1] · gradient and keep, rate, scale = numbers[0..3]. Nothing where the norm is not finite.
extern "C" __global__ void __launch_bounds__(256)
    adamw(const Part *parts, const float *norm, float beta1, float beta2, float epsilon) {
    const Part part = parts[blockIdx.x];
    const float keep = part.numbers[0];
    const float rate = part.numbers[1];
    const float scale = part.numbers[2];
    const float factor = norm[1];
    if (!is_finite(norm[0])) {
        return;
    }
    for (unsigned long long i = threadIdx.x; i < part.count; i += blockDim.x) {
        const float g = factor * part.other[i];
        const float m = beta1 * part.first_slot[i] + (1.0f - beta1) * g;
        const float v = beta2 * part.second_slot[i] + (1.0f - beta2) * g * g;
        part.first_slot[i] = m;
        part.second_slot[i] = v;
        part.values[i] = keep * part.values[i] - rate * m / (scale * sqrtf(v) + epsilon);
    }
}

// m ← μ m + g + λ p      p ← p − η m      with λ, η = numbers[0..2]. Nothing where the norm is not finite.
extern "C" __global__ void __launch_bounds__(256)
    sgd(const Part *parts, const float *norm, float momentum) {
    const Part part = parts[blockIdx.x];
    const float decay = part.numbers[0];
    const float learning_rate = part.numbers[1];
    const float factor = norm[1];
    if (!is_finite(norm[0])) {
        return;
    }
    for (unsigned long long i = threadIdx.x; i < part.count; i += blockDim.x) {
        const float m = momentum * part.first_slot[i] + factor * part.other[i] + decay * part.values[i];
        part.first_slot[i] = m;
        part.values[i] -= learning_rate * m;
    }
}

// a ← keep a + (1 − keep) p, p being `other`.
extern "C" __global__ void __launch_bounds__(256) move_average(const Part *parts, float keep) {
    const Part part = parts[blockIdx.x];
    for (unsigned long long i = threadIdx.x; i < part.count; i += blockDim.x) {
        part.values[i] = keep * part.values[i] + (1.0f - keep) * part.other[i];
    }
}
