// Random numbers that depend on their place alone: those of src/random.rs.
#pragma once

// The four numbers at place `index` of a stream: Philox4x32-10. The counter is (index, stream), low word first; the key is
// the seed.
//
// Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011.
__device__ __forceinline__ uint4
    philox(unsigned long long index, unsigned long long seed, unsigned long long stream) {
    constexpr unsigned int MULTIPLIERS[2] = {0xd2511f53, 0xcd9e8d57};
    constexpr unsigned int WEYL[2] = {0x9e3779b9, 0xbb67ae85};
    uint4 counter = make_uint4(
        static_cast<unsigned int>(index), static_cast<unsigned int>(index >> 32), static_cast<unsigned int>(stream),
        static_cast<unsigned int>(stream >> 32)
    );
    unsigned int key[2] = {static_cast<unsigned int>(seed), static_cast<unsigned int>(seed >> 32)};
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        counter = make_uint4(
            __umulhi(MULTIPLIERS[1], counter.z) ^ counter.y ^ key[0], MULTIPLIERS[1] * counter.z,
            __umulhi(MULTIPLIERS[0], counter.x) ^ counter.w ^ key[1], MULTIPLIERS[0] * counter.x
        );
        key[0] += WEYL[0];
        key[1] += WEYL[1];
    }
    return counter;
}
