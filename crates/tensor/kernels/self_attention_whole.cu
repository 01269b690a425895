// Self-attention, backward: dQ, dK and dV of texts of one tile; see self_attention_backward.cuh.

#include "self_attention_backward.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    self_attention_whole_32(ATTENTION_PARAMETERS, GRADIENT_PARAMETERS) {
    attend_backward<32, true, true>(ATTENTION, GRADIENTS);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    self_attention_whole_64(ATTENTION_PARAMETERS, GRADIENT_PARAMETERS) {
    attend_backward<64, true, true>(ATTENTION, GRADIENTS);
}

// Shared memory has room for two blocks, not more, so their threads may have as many registers as they like.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
    self_attention_whole_128(ATTENTION_PARAMETERS, GRADIENT_PARAMETERS) {
    attend_backward<128, true, true>(ATTENTION, GRADIENTS);
}
