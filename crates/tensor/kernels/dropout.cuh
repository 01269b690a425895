// Dropout as ops/dropout.rs draws it: value i of a tensor is kept, and grows, where number i of the stream is at least the
// threshold.
#pragma once

#include "common.cuh"
#include "philox.cuh"

// Values that a warp draws the numbers of at once: four by each lane.
constexpr unsigned int DRAWN = 4 * WARP;

// What is dropped of a tensor. The launch gives each warp dynamic shared memory for 33 blocks of four numbers.
struct Dropout {
    unsigned long long seed;
    unsigned long long stream;
    // p · 2³²; nothing is drawn where it is 0.
    unsigned int threshold;
    // 1 / (1 − p)
    float growth;
    // Those of the values that were drawn last.
    const unsigned int *numbers;

    __device__ __forceinline__
    Dropout(unsigned long long seed, unsigned long long stream, unsigned int threshold, float growth)
        : seed(seed), stream(stream), threshold(threshold), growth(growth), numbers(nullptr) {}

    // Draws for the values from `first` on; by all lanes of a warp.
    __device__ __forceinline__ void draw(unsigned long long first) {
        if (threshold == 0) {
            return;
        }
        DYNAMIC_SHARED(uint4, drawn);
        uint4 *of_warp = drawn + threadIdx.x / WARP * (WARP + 1);
        // Where the first value is not the first of its block, the last ones belong to a further block.
        const unsigned int blocks = first % 4 == 0 ? WARP : WARP + 1;
        // Lanes may still be reading what was drawn before.
        __syncwarp();
#pragma unroll 1
        for (unsigned int block = threadIdx.x % WARP; block < blocks; block += WARP) {
            of_warp[block] = philox(first / 4 + block, seed, stream);
        }
        __syncwarp();
        numbers = reinterpret_cast<const unsigned int *>(of_warp) + first % 4;
    }

    // x or 0, for the value `place` behind the first that was drawn for.
    __device__ __forceinline__ float value(float x, unsigned int place) const {
        return threshold == 0 || numbers[place] >= threshold ? x * growth : 0.0f;
    }
};

// Calls `function(i, place)` for each value, `place` as `value` takes it.
template <typename Function>
__device__ __forceinline__ void each_value(Dropout &dropout, unsigned long long count, Function function) {
    for (unsigned long long first = first_index() / WARP * DRAWN; first < count; first += 4 * stride()) {
        dropout.draw(first);
#pragma unroll
        for (unsigned int i = 0; i < DRAWN; i += WARP) {
            const unsigned int place = i + threadIdx.x % WARP;
            if (first + place < count) {
                function(first + place, place);
            }
        }
    }
}
