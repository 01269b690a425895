// What the shim gives to kernels: each function once.

#include "common.cuh"

// A helper of the same name as in reductions.cu, that does something else.
static __device__ unsigned int number_of_this_file() {
    return 7;
}

extern "C" __global__ void number_of_functions(unsigned int *out) {
    *out = number_of_this_file();
}

// out[block, thread] = the place of both in the grid, counted with x first.
extern "C" __global__ void places(unsigned int *out) {
    const unsigned int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const unsigned int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const unsigned int threads = blockDim.x * blockDim.y * blockDim.z;
    out[block * threads + thread] = block * 10000 + thread;
}

extern "C" __global__ void high_products(const unsigned int *a, const unsigned int *b, unsigned int *out) {
    out[threadIdx.x] = __umulhi(a[threadIdx.x], b[threadIdx.x]);
}

extern "C" __global__ void atomics(float *sum, int *count, unsigned int *bits, int *range, unsigned int *positive_range) {
    const int i = static_cast<int>(threadIdx.x);
    atomicAdd(sum, 0.5f);
    const int before = atomicAdd(count, 1);
    atomicAdd(bits, 1u << (before % 32));
    atomicMin(&range[0], i - 5);
    atomicMax(&range[1], i - 5);
    atomicMin(&positive_range[0], threadIdx.x + 3);
    atomicMax(&positive_range[1], threadIdx.x + 3);
}

// What lane 5, the lane beside, and the lane two above hold: −i where i is odd, i / 2, and i.
extern "C" __global__ void shuffles(int *broadcast, float *beside, unsigned int *above) {
    const int i = static_cast<int>(threadIdx.x);
    broadcast[i] = __shfl_sync(ALL_LANES, i % 2 == 0 ? i : -i, 5);
    beside[i] = __shfl_xor_sync(ALL_LANES, 0.5f * static_cast<float>(i), 1);
    above[i] = __shfl_down_sync(ALL_LANES, threadIdx.x, 2);
}

// The two halves of a warp apart, then together.
extern "C" __global__ void votes(unsigned int *ballots, int *some, int *all) {
    const bool low = threadIdx.x < 16;
    if (low) {
        ballots[threadIdx.x] = __ballot_sync(0x0000ffff, threadIdx.x % 2);
    } else {
        ballots[threadIdx.x] = __ballot_sync(0xffff0000, threadIdx.x % 3 == 0);
    }
    some[threadIdx.x] = __any_sync(ALL_LANES, threadIdx.x == 31);
    all[threadIdx.x] = __all_sync(ALL_LANES, threadIdx.x < 31) + 2 * __all_sync(ALL_LANES, low || threadIdx.x >= 16);
}

extern "C" __global__ void numbers(float *out) {
    const float4 four = make_float4(1.0f, 2.0f, 3.0f, 4.0f);
    const float2 two = make_float2(four.x, four.w);
    const uint2 words = make_uint2(3, 4);
    const uint4 more = make_uint4(words.x, words.y, 5, 6);
    *reinterpret_cast<float4 *>(out) = four;
    out[4] = two.x + two.y;
    out[5] = static_cast<float>(min(more.x, more.w) + max(more.y, more.z));
    out[6] = static_cast<float>(min(-1, 2) + max(-3, 4));
    out[7] = rsqrtf(4.0f);
    out[8] = __uint_as_float(__float_as_uint(1.5f) + 1u);
    out[9] = __int_as_float(__float_as_int(-2.5f));
    out[10] = __expf(1.0f) + __logf(2.0f) + __fdividef(1.0f, 4.0f);
    out[11] = fmaf(2.0f, 3.0f, 4.0f) + fmaxf(1.0f, 2.0f) + fminf(1.0f, 2.0f) + fabsf(-1.0f) + sqrtf(9.0f);
    out[12] = __ldg(&out[3]);
}
