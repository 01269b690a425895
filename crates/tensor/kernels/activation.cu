// Value by value through a fixed function; the kernels of ops/activation.rs.
//
//   gelu     y = x Φ(x)              dx = dy (Φ(x) + x φ(x))     Φ, φ: distribution and density of the standard normal
//   relu     y = max(x, 0)           dx = dy where x > 0, else 0
//   tanh     y = tanh x              dx = dy (1 − y²)
//   sigmoid  y = 1 / (1 + e^−x)      dx = dy y (1 − y)
//
// x, y, dy and dx have `count` values each. Any grid of one-dimensional blocks will do: the threads stride over the values.

#include "common.cuh"

namespace {

struct Gelu {
    static __device__ float distribution(float x) {
        const float sqrt_half = 0.707106781f;
        return 0.5f + 0.5f * erff(x * sqrt_half);
    }

    static __device__ float value(float x) { return x * distribution(x); }

    static __device__ float derivative(float x, float) {
        const float one_over_sqrt_two_pi = 0.398942280f;
        return distribution(x) + x * one_over_sqrt_two_pi * expf(-0.5f * x * x);
    }
};

struct Relu {
    // Written so that NaN stays NaN, which fmaxf would hide.
    static __device__ float value(float x) { return x < 0.0f ? 0.0f : x; }

    static __device__ float derivative(float x, float) { return x > 0.0f ? 1.0f : 0.0f; }
};

struct Tanh {
    static __device__ float value(float x) { return tanhf(x); }

    static __device__ float derivative(float, float y) { return 1.0f - y * y; }
};

struct Sigmoid {
    static __device__ float value(float x) { return 1.0f / (1.0f + expf(-x)); }

    static __device__ float derivative(float, float y) { return y * (1.0f - y); }
};

__device__ __forceinline__ unsigned long long first_index() {
    return static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ unsigned long long stride() {
    return static_cast<unsigned long long>(gridDim.x) * blockDim.x;
}

template <typename Function>
__device__ __forceinline__ void forward(const float *x, float *y, unsigned long long count) {
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        y[i] = Function::value(x[i]);
    }
}

template <typename Function>
__device__ __forceinline__ void backward(
    const float *x, const float *y, const float *dy, float *dx, unsigned long long count
) {
    for (unsigned long long i = first_index(); i < count; i += stride()) {
        dx[i] = dy[i] * Function::derivative(x[i], y[i]);
    }
}

}  // namespace

extern "C" __global__ void gelu_forward(const float *x, float *y, unsigned long long count) {
    forward<Gelu>(x, y, count);
}

extern "C" __global__ void gelu_backward(
    const float *x, const float *y, const float *dy, float *dx, unsigned long long count
) {
    backward<Gelu>(x, y, dy, dx, count);
}

extern "C" __global__ void relu_forward(const float *x, float *y, unsigned long long count) {
    forward<Relu>(x, y, count);
}

extern "C" __global__ void relu_backward(
    const float *x, const float *y, const float *dy, float *dx, unsigned long long count
) {
    backward<Relu>(x, y, dy, dx, count);
}

extern "C" __global__ void tanh_forward(const float *x, float *y, unsigned long long count) {
    forward<Tanh>(x, y, count);
}

extern "C" __global__ void tanh_backward(
    const float *x, const float *y, const float *dy, float *dx, unsigned long long count
) {
    backward<Tanh>(x, y, dy, dx, count);
}

extern "C" __global__ void sigmoid_forward(const float *x, float *y, unsigned long long count) {
    forward<Sigmoid>(x, y, count);
}

extern "C" __global__ void sigmoid_backward(
    const float *x, const float *y, const float *dy, float *dx, unsigned long long count
) {
    backward<Sigmoid>(x, y, dy, dx, count);
}
