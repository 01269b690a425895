// The sums of crf.cu in logarithms and f64, for the texts of which it could not be trusted: a rare, slow way, with the formulas
// of ops/crf/exact.rs.
//
//   α_1(j) = s(j) + e_1(j)      α_t(j) = e_t(j) + log Σ_i exp(α_{t−1}(i) + A(i,j))      log Z = log Σ_j exp(α_n(j) + z(j))
//   β_n(i) = z(i)               β_{t−1}(i) = log Σ_j exp(A(i,j) + e_t(j) + β_t(j))
//   P(y_t = j) = exp(α_t(j) + β_t(j) − log Z)
//   P(y_{t−1} = i, y_t = j) = exp(α_{t−1}(i) + A(i,j) + e_t(j) + β_t(j) − log Z)

#include "common.cuh"

namespace {

__device__ __forceinline__ double lowest() { return __uint_as_float(0xff800000); }

struct Chain {
    const float *transitions;
    const float *start;
    const float *end;
    const unsigned char *forbidden;
    int tags;

    __device__ __forceinline__ double step(int from, int to) const {
        const int at = from * tags + to;
        return forbidden[at] != 0 ? lowest() : transitions[at];
    }

    __device__ __forceinline__ double first(int tag) const {
        return forbidden[tags * tags + tag] != 0 ? lowest() : start[tag];
    }
};

// log Σ_i exp(score(i)); −∞ where all are. Not unrolled: that would take more registers than such a rare way is worth.
template <typename Score>
__device__ __forceinline__ double log_sum_exp(int count, const Score &score) {
    double largest = lowest();
#pragma unroll 1
    for (int i = 0; i < count; ++i) {
        largest = fmax(largest, score(i));
    }
    if (largest == lowest()) {
        return largest;
    }
    double sum = 0.0;
#pragma unroll 1
    for (int i = 0; i < count; ++i) {
        sum += exp(score(i) - largest);
    }
    return largest + log(sum);
}

// α of all tokens [tokens, tags].
__device__ __forceinline__ void forward(const Chain &chain, const float *emissions, int tokens, double *alpha) {
    const int tags = chain.tags;
    for (int token = 0; token < tokens; ++token) {
        const double *before = alpha + (token - 1) * tags;
        for (int to = threadIdx.x; to < tags; to += blockDim.x) {
            const double into = token == 0 ? chain.first(to) : log_sum_exp(tags, [&](int from) {
                return before[from] + chain.step(from, to);
            });
            alpha[token * tags + to] = emissions[token * tags + to] + into;
        }
        __syncthreads();
    }
}

}  // namespace

// A block does each `gridDim.x`-th text of those that are not trusted, where it writes the marginals, sets u and r to 0 (all
// [tokens, tags]) and adds log Z to the loss. Its sum of P(y_{t−1} = i, y_t = j) over tokens is its row of `pairs`
// [blocks, tags, tags]. α [tokens, tags] is room to work in. Shared memory: β and e + β, 2 tags values.
extern "C" __global__ void __launch_bounds__(256) crf_exact(
    const float *emissions, const float *transitions, const float *start, const float *end, const unsigned char *forbidden,
    const unsigned int *offsets, const int *is_trusted, int texts, int tags, double *alpha, float *marginals, float *u, float *r,
    float *pairs, double *losses
) {
    DYNAMIC_SHARED(double, shared);
    double *beta = shared;
    double *weights = shared + tags;
    const Chain chain = {transitions, start, end, forbidden, tags};
    const int steps = tags * tags;
    pairs += static_cast<unsigned long long>(blockIdx.x) * steps;
    for (int at = threadIdx.x; at < steps; at += blockDim.x) {
        pairs[at] = 0.0f;
    }
    for (int text = blockIdx.x; text < texts; text += gridDim.x) {
        const int tokens = offsets[text + 1] - offsets[text];
        if (is_trusted[text] || tokens == 0) {
            continue;
        }
        const unsigned long long first = static_cast<unsigned long long>(offsets[text]) * tags;
        const float *e = emissions + first;
        double *of_text = alpha + first;
        forward(chain, e, tokens, of_text);
        for (int tag = threadIdx.x; tag < tags; tag += blockDim.x) {
            beta[tag] = end[tag];
        }
        __syncthreads();
        const double *last = of_text + (tokens - 1) * tags;
        const double log_partition = log_sum_exp(tags, [&](int tag) { return last[tag] + beta[tag]; });
        for (int token = tokens - 1; token >= 0; --token) {
            const int row = token * tags;
            for (int tag = threadIdx.x; tag < tags; tag += blockDim.x) {
                const double log = of_text[row + tag] + beta[tag] - log_partition;
                marginals[first + row + tag] = static_cast<float>(exp(log));
                u[first + row + tag] = 0.0f;
                r[first + row + tag] = 0.0f;
                weights[tag] = e[row + tag] + beta[tag];
            }
            // Every thread has log Z, and the weights are whole.
            __syncthreads();
            if (token == 0) {
                break;
            }
            for (int at = threadIdx.x; at < steps; at += blockDim.x) {
                const int from = at / tags;
                const int to = at % tags;
                const double log = of_text[row - tags + from] + chain.step(from, to) + weights[to];
                pairs[at] += static_cast<float>(exp(log - log_partition));
            }
            for (int from = threadIdx.x; from < tags; from += blockDim.x) {
                beta[from] =
                    log_sum_exp(tags, [&](int to) { return chain.step(from, to) + weights[to]; });
            }
            __syncthreads();
        }
        if (threadIdx.x == 0) {
            losses[text] += log_partition;
        }
    }
}
