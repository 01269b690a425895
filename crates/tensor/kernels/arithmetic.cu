// Value by value: sums, products, multiples; and the sum of all values. The kernels of ops/arithmetic.rs, and of the sum of
// gradients in autograd.rs.
//
// All have `count` values where nothing else is said; the threads of any grid stride over them.

#include "common.cuh"

extern "C" __global__ void add(const float *a, const float *b, float *c, unsigned long long count) {
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        c[i] = a[i] + b[i];
    }
}

extern "C" __global__ void multiply(const float *a, const float *b, float *c, unsigned long long count) {
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        c[i] = a[i] * b[i];
    }
}

// b = factor a
extern "C" __global__ void scale(const float *a, float factor, float *b, unsigned long long count) {
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        b[i] = factor * a[i];
    }
}

// sum ← sum + term
extern "C" __global__ void add_to(float *sum, const float *term, unsigned long long count) {
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        sum[i] += term[i];
    }
}

// sum_{rows_i} ← sum_{rows_i} + terms_i     sum [.., width], terms [count, width], each row named once
//
// A row is one warp's.
extern "C" __global__ void add_to_rows(
    float *sum, const unsigned int *rows, const float *terms, unsigned int count, int width
) {
    const unsigned long long term = first_index() / WARP;
    if (term >= count) {
        return;
    }
    const unsigned long long row = rows[term];
    for (int column = threadIdx.x % WARP; column < width; column += WARP) {
        sum[row * width + column] += terms[term * width + column];
    }
}

// Every value is the one at `value`.
extern "C" __global__ void fill_with(const float *value, float *result, unsigned long long count) {
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        result[i] = *value;
    }
}

// total = Σ a, by one block.
extern "C" __global__ void __launch_bounds__(1024) sum(const float *a, float *total, unsigned long long count) {
    float sum = 0.0f;
    for (unsigned long long i = threadIdx.x; i < count; i += blockDim.x) {
        sum += a[i];
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        *total = sum;
    }
}
