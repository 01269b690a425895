// Self-attention, backward: dQ of texts of several tiles; see self_attention_backward.cuh.

#include "self_attention_backward.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    self_attention_queries_32(ATTENTION_PARAMETERS, GRADIENT_PARAMETERS) {
    attend_backward<32, true, false>(ATTENTION, GRADIENTS);
}

// Shared memory has room for three blocks, not more, so their threads may have as many registers as they like.
extern "C" __global__ void __launch_bounds__(THREADS, 3)
    self_attention_queries_64(ATTENTION_PARAMETERS, GRADIENT_PARAMETERS) {
    attend_backward<64, true, false>(ATTENTION, GRADIENTS);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    self_attention_queries_128(ATTENTION_PARAMETERS, GRADIENT_PARAMETERS) {
    attend_backward<128, true, false>(ATTENTION, GRADIENTS);
}
