// What several kernels share. No includes: NVRTC compiles it as it stands, and so does the emulation for the processor.
#pragma once

// Shared memory whose size the launch decides, as `name` of type `type *`. All such names start at the same place.
#ifndef DYNAMIC_SHARED
extern __shared__ __align__(16) unsigned char dynamic_shared[];
#define DYNAMIC_SHARED(type, name) type *const name = reinterpret_cast<type *>(dynamic_shared)
#endif

constexpr unsigned int WARP = 32;
constexpr unsigned int ALL_LANES = 0xffffffff;

// The threads of a grid of one-dimensional blocks stride over values: for (i = first_index(); i < count; i += stride()).
__device__ __forceinline__ unsigned long long first_index() {
    return static_cast<unsigned long long>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ unsigned long long stride() {
    return static_cast<unsigned long long>(gridDim.x) * blockDim.x;
}

// The functions below are called by every thread of a one-dimensional block of whole warps, and give every thread the
// same result. The order of a sum depends on the size of the block alone.

// Σ of the warp's values.
__device__ __forceinline__ float warp_sum(float value) {
    for (unsigned int distance = WARP / 2; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    }
    return value;
}

// The largest of the warp's values; NaN only if all are.
__device__ __forceinline__ float warp_max(float value) {
    for (unsigned int distance = WARP / 2; distance > 0; distance /= 2) {
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, distance));
    }
    return value;
}

// One value of each warp, in every warp: the value of warp i in lane i, `otherwise` in the lanes beyond the last.
__device__ __forceinline__ float gather_warps(float value, float otherwise) {
    __shared__ float of_warp[WARP];
    const unsigned int lane = threadIdx.x % WARP;
    // Warps may still be reading the values of an earlier call.
    __syncthreads();
    if (lane == 0) {
        of_warp[threadIdx.x / WARP] = value;
    }
    __syncthreads();
    return lane < blockDim.x / WARP ? of_warp[lane] : otherwise;
}

// Σ of the block's values.
__device__ __forceinline__ float block_sum(float value) {
    return warp_sum(gather_warps(warp_sum(value), 0.0f));
}

// The largest of the block's values; NaN only if all are.
__device__ __forceinline__ float block_max(float value) {
    const float lowest = __uint_as_float(0xff800000);
    return warp_max(gather_warps(warp_max(value), lowest));
}
