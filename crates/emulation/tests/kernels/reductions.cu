// Sums of a block by every way there is, and what helpers of common.cuh give.

#include "common.cuh"

// sums[block] = Σ values of the block, by halving the distance in dynamic shared memory; a block is a power of two.
extern "C" __global__ void sum_by_shared_memory(const float *values, float *sums) {
    DYNAMIC_SHARED(float, scratch);
    scratch[threadIdx.x] = values[blockIdx.x * blockDim.x + threadIdx.x];
    __syncthreads();
    for (unsigned int distance = blockDim.x / 2; distance > 0; distance /= 2) {
        if (threadIdx.x < distance) {
            scratch[threadIdx.x] += scratch[threadIdx.x + distance];
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = scratch[0];
    }
}

// The same by the lanes of each warp, in whole warps.
extern "C" __global__ void sum_by_shuffles(const float *values, float *sums) {
    __shared__ float of_warp[32];
    float sum = values[blockIdx.x * blockDim.x + threadIdx.x];
#pragma unroll
    for (unsigned int distance = 16; distance > 0; distance /= 2) {
        sum += __shfl_down_sync(ALL_LANES, sum, distance);
    }
    if (threadIdx.x % 32 == 0) {
        of_warp[threadIdx.x / 32] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (unsigned int warp = 1; warp < blockDim.x / 32; ++warp) {
            sum += of_warp[warp];
        }
        sums[blockIdx.x] = sum;
    }
}

// sums and maxima [blocks, threads] of block_sum and block_max, twice in a row as kernels use them.
extern "C" __global__ void __launch_bounds__(1024) sum_and_max(const float *values, float *sums, float *maxima) {
    const unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    maxima[i] = block_max(values[i]);
    sums[i] = block_sum(values[i]);
}

static __device__ unsigned int number_of_this_file() {
    return 8;
}

extern "C" __global__ void number_of_reductions(unsigned int *out) {
    *out = number_of_this_file();
}
