// The part of CUDA C++ that the kernels may use, for a compiler of the processor.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <math.h>
#include <type_traits>

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// A block runs on one thread of the operating system, so that what is shared in the block is what belongs to that thread.
#define __shared__ static __thread
#define DYNAMIC_SHARED(type, name) type *const name = static_cast<type *>(emulation::dynamic_shared())

struct uint3 {
    unsigned int x, y, z;
};
using dim3 = uint3;

extern __thread uint3 threadIdx;
extern __thread uint3 blockIdx;
extern __thread dim3 blockDim;
extern __thread dim3 gridDim;

// Vectors of two and four values.

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned int x, y;
};
struct alignas(16) uint4 {
    unsigned int x, y, z, w;
};

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned int x, unsigned int y) { return {x, y}; }
inline uint4 make_uint4(unsigned int x, unsigned int y, unsigned int z, unsigned int w) { return {x, y, z, w}; }

namespace emulation {

// Where in the sources a thread waits.
struct Site {
    const char *file;
    int line;
};

inline Site here(const char *file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
}

enum class Operation { Synchronize, Shuffle, Ballot };

// The calling thread's place in its warp.
unsigned int lane();

// Waits for the other threads of the block that have not returned.
void synchronize_block(Site site);

// Waits for the other lanes of `mask` that have not returned. A shuffle gives the value of lane `source`, a ballot the
// lanes whose value is not 0.
unsigned int synchronize_warp(Operation operation, unsigned int mask, unsigned int value, unsigned int source, Site site);

// The block's dynamic shared memory.
void *dynamic_shared();

template <typename To, typename From>
inline To same_bits(From value) {
    static_assert(sizeof(To) == 4 && sizeof(From) == 4, "values of 32 bits: int, unsigned int or float");
    To result;
    std::memcpy(&result, &value, sizeof result);
    return result;
}

template <typename T>
inline T shuffle(unsigned int mask, T value, unsigned int source, Site site) {
    const unsigned int bits = same_bits<unsigned int>(value);
    return same_bits<T>(synchronize_warp(Operation::Shuffle, mask, bits, source, site));
}

}  // namespace emulation

// Barriers and what the lanes of a warp tell each other. A default argument is evaluated where the call stands.

#define EMULATION_HERE emulation::Site site = emulation::here()

inline void __syncthreads(EMULATION_HERE) { emulation::synchronize_block(site); }

inline void __syncwarp(unsigned int mask = 0xffffffff, EMULATION_HERE) {
    emulation::synchronize_warp(emulation::Operation::Synchronize, mask, 0, 0, site);
}

template <typename T>
inline T __shfl_sync(unsigned int mask, T value, int source, EMULATION_HERE) {
    return emulation::shuffle(mask, value, static_cast<unsigned int>(source) % 32, site);
}

template <typename T>
inline T __shfl_xor_sync(unsigned int mask, T value, int difference, EMULATION_HERE) {
    return emulation::shuffle(mask, value, (emulation::lane() ^ static_cast<unsigned int>(difference)) % 32, site);
}

// A lane with none so far above it keeps its own value.
template <typename T>
inline T __shfl_down_sync(unsigned int mask, T value, unsigned int distance, EMULATION_HERE) {
    const unsigned int lane = emulation::lane();
    return emulation::shuffle(mask, value, distance < 32 - lane ? lane + distance : lane, site);
}

inline unsigned int __ballot_sync(unsigned int mask, int predicate, EMULATION_HERE) {
    return emulation::synchronize_warp(emulation::Operation::Ballot, mask, predicate != 0, 0, site);
}

inline int __any_sync(unsigned int mask, int predicate, EMULATION_HERE) {
    return __ballot_sync(mask, predicate, site) != 0;
}

inline int __all_sync(unsigned int mask, int predicate, EMULATION_HERE) {
    return __ballot_sync(mask, predicate == 0, site) == 0;
}

#undef EMULATION_HERE

// Atomic operations: nothing runs between two barriers of a thread but the thread itself.

template <typename T>
inline T atomicAdd(T *address, std::common_type_t<T> value) {
    static_assert(std::is_same_v<T, float> || sizeof(T) == sizeof(int), "float, int or unsigned int");
    const T before = *address;
    *address = before + value;
    return before;
}

template <typename T>
inline T atomicMax(T *address, std::common_type_t<T> value) {
    static_assert(std::is_integral_v<T> && sizeof(T) == sizeof(int), "int or unsigned int");
    const T before = *address;
    *address = before > value ? before : value;
    return before;
}

template <typename T>
inline T atomicMin(T *address, std::common_type_t<T> value) {
    static_assert(std::is_integral_v<T> && sizeof(T) == sizeof(int), "int or unsigned int");
    const T before = *address;
    *address = before < value ? before : value;
    return before;
}

// Numbers. What CUDA approximates is exact here.

inline unsigned int __umulhi(unsigned int a, unsigned int b) {
    return static_cast<unsigned int>((static_cast<std::uint64_t>(a) * b) >> 32);
}

inline unsigned int __float_as_uint(float value) { return emulation::same_bits<unsigned int>(value); }
inline int __float_as_int(float value) { return emulation::same_bits<int>(value); }
inline float __uint_as_float(unsigned int value) { return emulation::same_bits<float>(value); }
inline float __int_as_float(int value) { return emulation::same_bits<float>(value); }

template <typename T>
inline std::enable_if_t<std::is_integral_v<T>, T> min(T a, T b) {
    return b < a ? b : a;
}

template <typename T>
inline std::enable_if_t<std::is_integral_v<T>, T> max(T a, T b) {
    return a < b ? b : a;
}

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }

template <typename T>
inline T __ldg(const T *address) {
    return *address;
}
