// Barriers that are right, barriers that are wrong, and shared memory that is too small.

#include "common.cuh"

// Threads from `alive` on return at once; the others pass their index to the left. out[alive] = index + 1, modulo alive.
extern "C" __global__ void early_return(int *out, int alive) {
    DYNAMIC_SHARED(int, scratch);
    const int i = static_cast<int>(threadIdx.x);
    if (i >= alive) {
        return;
    }
    scratch[i] = i;
    __syncthreads();
    out[i] = scratch[(i + 1) % alive];
}

// out[i] = i + 1, modulo the block's threads, without the barrier that it needs.
extern "C" __global__ void race(int *out) {
    DYNAMIC_SHARED(int, scratch);
    const int i = static_cast<int>(threadIdx.x);
    scratch[i] = 0;
    __syncthreads();
    scratch[i] = i;
    out[i] = scratch[(i + 1) % static_cast<int>(blockDim.x)];
}

// The last block to come wins.
extern "C" __global__ void race_of_blocks(int *out) {
    *out = static_cast<int>(blockIdx.x);
}

extern "C" __global__ void two_barriers(int *out) {
    if (threadIdx.x < 16) {
        __syncthreads();
    } else {
        out[threadIdx.x] = 1;
        __syncthreads();
    }
}

extern "C" __global__ void block_barrier_beside_warp_barrier(int *out) {
    if (threadIdx.x < 16) {
        __syncthreads();
    } else {
        __syncwarp();
    }
    out[threadIdx.x] = 1;
}

extern "C" __global__ void shuffle_beside_ballot(unsigned int *out) {
    out[threadIdx.x] = threadIdx.x < 16 ? __shfl_sync(ALL_LANES, 1u, 0) : __ballot_sync(ALL_LANES, 1);
}

extern "C" __global__ void lane_outside_its_mask(int *out) {
    __syncwarp(0xffff);
    out[threadIdx.x] = 1;
}

// Right for whole warps only.
extern "C" __global__ void sum_of_warp(float *out) {
    out[threadIdx.x] = warp_sum(1.0f);
}

// Writes `count` values where the launch has made room for fewer, or not.
extern "C" __global__ void write_shared(int *out, int count) {
    DYNAMIC_SHARED(int, scratch);
    for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
        scratch[i] = i;
    }
    __syncthreads();
    out[threadIdx.x] = scratch[threadIdx.x];
}

extern "C" __global__ void read_unwritten(float *out) {
    DYNAMIC_SHARED(float, scratch);
    out[threadIdx.x] = scratch[threadIdx.x];
}

// Σ over rounds of the neighbour's value, with two barriers a round.
extern "C" __global__ void many_rounds(int *out, int rounds) {
    DYNAMIC_SHARED(int, scratch);
    const unsigned int i = threadIdx.x;
    int sum = 0;
    for (int round = 0; round < rounds; ++round) {
        scratch[i] = round;
        __syncthreads();
        sum += scratch[(i + 1) % blockDim.x];
        __syncthreads();
    }
    out[blockIdx.x * blockDim.x + i] = sum;
}

// Writes the whole of a local array of 80,000 bytes.
extern "C" __global__ void deep_stack(int *out) {
    volatile int local[20000];
    for (int i = 19999; i >= 0; --i) {
        local[i] = i;
    }
    out[threadIdx.x] = local[threadIdx.x];
}
