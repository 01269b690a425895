// The gradients of the loss of a conditional random field; the kernels of the backward in ops/crf/cuda.rs.
//
//   de_t(j) = P(y_t = j) − [y_t = j]                       dA(i,j) = Σ_t P(y_{t−1} = i, y_t = j) − [y_{t−1} = i, y_t = j]
//   ds, dz: de of the first and of the last token, summed over texts;     all times `*gradient` / tokens

#include "common.cuh"

// de [tokens, tags] of the marginals; a warp a token.
extern "C" __global__ void __launch_bounds__(256) crf_emission_gradient(
    const float *marginals, const unsigned int *y, const float *gradient, int tokens, int tags, float *de
) {
    const int token = first_index() / WARP;
    if (token >= tokens) {
        return;
    }
    const float factor = *gradient / static_cast<float>(tokens);
    const int expected = y[token];
    const unsigned long long row = static_cast<unsigned long long>(token) * tags;
    for (int tag = threadIdx.x % WARP; tag < tags; tag += WARP) {
        const unsigned long long at = row + tag;
        de[at] = (marginals[at] - (tag == expected ? 1.0f : 0.0f)) * factor;
    }
}

// ds and dz [tags] of de; a thread a tag.
extern "C" __global__ void __launch_bounds__(256) crf_end_gradients(
    const float *de, const unsigned int *offsets, int texts, int tags, float *ds, float *dz
) {
    const int tag = first_index();
    if (tag >= tags) {
        return;
    }
    float of_first = 0.0f;
    float of_last = 0.0f;
    for (int text = 0; text < texts; ++text) {
        const unsigned long long first = offsets[text];
        const unsigned long long end = offsets[text + 1];
        if (first < end) {
            of_first += de[first * tags + tag];
            of_last += de[(end - 1) * tags + tag];
        }
    }
    ds[tag] = of_first;
    dz[tag] = of_last;
}

// dA = (F ⊙ products + pairs − counts) · *gradient / tokens, all [tags, tags]: `products` Σ_t u_t(i) r_t(j), `pairs` the
// probabilities of texts that were done in logarithms, `counts` how often tags y follow each other.
extern "C" __global__ void __launch_bounds__(256) crf_transition_gradient(
    const float *factors, const float *products, const float *pairs, const float *counts, const float *gradient, float tokens,
    int count, float *da
) {
    const float factor = *gradient / tokens;
    for (int at = first_index(); at < count; at += stride()) {
        da[at] = (factors[at] * products[at] + pairs[at] - counts[at]) * factor;
    }
}
