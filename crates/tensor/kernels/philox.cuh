// Counter-based random numbers: the same that src/random.rs draws on the processor.
#pragma once

// The four numbers at place `index` of a stream of a seed: Philox4x32-10.
//
// Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011. The counter is (index, stream), low word first; the
// key is the seed.
__device__ __forceinline__ uint4
philox(unsigned long long index, unsigned long long seed, unsigned long long stream) {
    constexpr int ROUNDS = 10;
    uint4 c = make_uint4(
        static_cast<unsigned int>(index), static_cast<unsigned int>(index >> 32),
        static_cast<unsigned int>(stream), static_cast<unsigned int>(stream >> 32)
    );
    uint2 key = make_uint2(static_cast<unsigned int>(seed), static_cast<unsigned int>(seed >> 32));
#pragma unroll
    for (int round = 0; round < ROUNDS; ++round) {
        const unsigned int high_0 = __umulhi(0xD2511F53u, c.x), low_0 = 0xD2511F53u * c.x;
        const unsigned int high_1 = __umulhi(0xCD9E8D57u, c.z), low_1 = 0xCD9E8D57u * c.z;
        c = make_uint4(high_1 ^ c.y ^ key.x, low_1, high_0 ^ c.w ^ key.y, low_0);
        key.x += 0x9E3779B9u;
        key.y += 0xBB67AE85u;
    }
    return c;
}
