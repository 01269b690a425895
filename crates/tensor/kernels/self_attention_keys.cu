// Self-attention, backward: dK and dV of texts of several tiles; see self_attention_backward.cuh.

#include "self_attention_backward.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
    self_attention_keys_32(ATTENTION_PARAMETERS, GRADIENT_PARAMETERS) {
    attend_backward<32, false, true>(ATTENTION, GRADIENTS);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    self_attention_keys_64(ATTENTION_PARAMETERS, GRADIENT_PARAMETERS) {
    attend_backward<64, false, true>(ATTENTION, GRADIENTS);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    self_attention_keys_128(ATTENTION_PARAMETERS, GRADIENT_PARAMETERS) {
    attend_backward<128, false, true>(ATTENTION, GRADIENTS);
}
