// The tag sequence of highest score of each text; the kernels of ops/crf/viterbi.rs.
//
//   δ_1(j) = s(j) + e_1(j)     δ_t(j) = e_t(j) + max_i (δ_{t−1}(i) + A(i,j))     y_n = argmax_j (δ_n(j) + z(j))
//
// The same sums in f64 and in the same order as on the processor, so that near ties fall the same way: of equals the lowest tag.

#include "common.cuh"

namespace {

// In the place of a text's first tag: it has no best sequence.
constexpr unsigned int NONE = 0xffffffff;

__device__ __forceinline__ float unless(unsigned char is_forbidden, float weight) {
    return is_forbidden != 0 ? __uint_as_float(0xff800000) : weight;
}

// Follows the steps back from the best last tag; by one thread.
__device__ void trace(
    const double *scores, const unsigned int *came_from, int tokens, int tags, bool is_faulty, unsigned int *sequence
) {
    double best = __uint_as_float(0xff800000);
    unsigned int tag = NONE;
    for (int i = 0; i < tags; ++i) {
        if (scores[i] > best) {
            best = scores[i];
            tag = i;
        }
    }
    if (is_faulty || tag == NONE) {
        sequence[0] = NONE;
        return;
    }
    for (int token = tokens - 1; token > 0; --token) {
        sequence[token] = tag;
        tag = came_from[static_cast<unsigned long long>(token) * tags + tag];
    }
    sequence[0] = tag;
}

template <bool IN_SHARED>
__device__ __forceinline__ void best_sequence(
    const float *emissions, const float *transitions, const float *start, const float *end, const unsigned char *forbidden,
    const unsigned int *offsets, int tags, unsigned int *came_from, unsigned int *sequences
) {
    DYNAMIC_SHARED(double, shared);
    __shared__ int is_faulty;
    const unsigned int first = offsets[blockIdx.x];
    const int tokens = static_cast<int>(offsets[blockIdx.x + 1] - first);
    if (tokens == 0) {
        return;
    }
    emissions += static_cast<unsigned long long>(first) * tags;
    came_from += static_cast<unsigned long long>(first) * tags;
    float *steps = reinterpret_cast<float *>(shared + 2 * tags);
    if (IN_SHARED) {
        for (int at = threadIdx.x; at < tags * tags; at += blockDim.x) {
            steps[at] = unless(forbidden[at], transitions[at]);
        }
    }
    if (threadIdx.x == 0) {
        is_faulty = 0;
    }
    __syncthreads();
    for (int token = 0; token < tokens; ++token) {
        const double *before = shared + token % 2 * tags;
        double *scores = shared + (token + 1) % 2 * tags;
        const unsigned long long row = static_cast<unsigned long long>(token) * tags;
        for (int to = threadIdx.x; to < tags; to += blockDim.x) {
            const float emission = emissions[row + to];
            if (!(emission < __uint_as_float(0x7f800000))) {
                is_faulty = 1;
            }
            double best = __uint_as_float(0xff800000);
            if (token == 0) {
                best = unless(forbidden[tags * tags + to], start[to]);
            } else {
                unsigned int best_from = 0;
                for (int from = 0; from < tags; ++from) {
                    const int at = from * tags + to;
                    const double score =
                        before[from] + (IN_SHARED ? steps[at] : unless(forbidden[at], transitions[at]));
                    best_from = score > best ? from : best_from;
                    best = score > best ? score : best;
                }
                came_from[row + to] = best_from;
            }
            best += emission;
            scores[to] = token + 1 == tokens ? best + end[to] : best;
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        trace(shared + tokens % 2 * tags, came_from, tokens, tags, is_faulty != 0, sequences + first);
    }
}

}  // namespace

// `sequences` [tokens] from emissions [tokens, tags]: 2³² − 1 at the first token of a text where every sequence is forbidden or
// an emission is NaN or +∞. `came_from` [tokens, tags], the best tag before, is room to work in. A block a text, a thread a tag.
// Shared memory: two rows of δ in f64, then A.
extern "C" __global__ void __launch_bounds__(256) crf_viterbi_in_shared(
    const float *emissions, const float *transitions, const float *start, const float *end, const unsigned char *forbidden,
    const unsigned int *offsets, int tags, unsigned int *came_from, unsigned int *sequences
) {
    best_sequence<true>(emissions, transitions, start, end, forbidden, offsets, tags, came_from, sequences);
}

// The same where A is too large for shared memory, and comes through the cache.
extern "C" __global__ void __launch_bounds__(256) crf_viterbi(
    const float *emissions, const float *transitions, const float *start, const float *end, const unsigned char *forbidden,
    const unsigned int *offsets, int tags, unsigned int *came_from, unsigned int *sequences
) {
    best_sequence<false>(emissions, transitions, start, end, forbidden, offsets, tags, came_from, sequences);
}
