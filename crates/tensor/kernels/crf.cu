// Sums over all tag sequences of each text, in probabilities; the kernels of ops/crf/cuda.rs. The formulas of
// ops/crf/recursion.rs, with vectors that are divided by their maximum only where the next step reads them, and with both
// ways at once.
//
//   F = exp(A − max A), 0 where forbidden [tags, tags]        x_t = exp(e_t − max e_t) [tags]
//   a_1 = exp(s − max s)     u_t = a_t ⊙ x_t     a_{t+1} = u_t F / max u_t
//   b_n = exp(z − max z)     w_t = b_t ⊙ x_t     b_{t−1} = F w_t / max w_t                c_t = u_tᵀ b_t
//
//   P(y_t = j) = u_t(j) b_t(j) / c_t
//   P(y_t = i, y_{t+1} = j) = u_t(i) F(i,j) r_t(j)                                       r_t = w_{t+1} / (c_t max w_{t+1})
//   log Z = max s + max z + Σ_t max e_t + Σ_{t<n} (log max u_t + max A) + log c_n
//
// A text in which max u, max w or c becomes so small that f32 may have lost what counts is left to crf_exact.cu.

#include "common.cuh"

namespace {

// Values of a product that are added side by side; F and Fᵀ are filled up with rows of zeros to a multiple of it.
constexpr int TERMS = 4;

// The least (smallest maximum)² · (smallest c): what two steps lose, 10⁻³⁸ a tag and term, is then below 10⁻⁹ of all for 100
// tags.
constexpr float LEAST = 1e-25f;

__device__ __forceinline__ bool is_barred(const unsigned char *forbidden, int at) {
    return forbidden != nullptr && forbidden[at] != 0;
}

// The largest of the weights that are not forbidden; 0 where there is none, so that it can be subtracted.
__device__ float largest_weight(const float *weights, const unsigned char *forbidden, int count) {
    const float lowest = __uint_as_float(0xff800000);
    float largest = lowest;
    for (int at = threadIdx.x; at < count; at += blockDim.x) {
        largest = is_barred(forbidden, at) ? largest : fmaxf(largest, weights[at]);
    }
    largest = block_max(largest);
    return largest > lowest ? largest : 0.0f;
}

__device__ __forceinline__ float
factor(const float *weights, const unsigned char *forbidden, int at, float largest) {
    return is_barred(forbidden, at) ? 0.0f : expf(weights[at] - largest);
}

// Σ_i vector(i) matrix(i, column) / max vector, and that maximum. `matrix` begins at the column, and has `rows` rows.
__device__ __forceinline__ float
scaled_product(const float *vector, const float *matrix, int rows, int columns, float &largest) {
    float4 sums = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    largest = 0.0f;
    for (int row = 0; row < rows; row += TERMS) {
        const float4 values = *reinterpret_cast<const float4 *>(vector + row);
        sums.x += values.x * matrix[0];
        sums.y += values.y * matrix[columns];
        sums.z += values.z * matrix[2 * columns];
        sums.w += values.w * matrix[3 * columns];
        largest = fmaxf(largest, fmaxf(fmaxf(values.x, values.y), fmaxf(values.z, values.w)));
        matrix += TERMS * columns;
    }
    return __fdividef((sums.x + sums.y) + (sums.z + sums.w), largest);
}

// One way through a text: the vectors `y`, a or b, and the maxima that they were divided by, each at its token.
template <bool IN_SHARED>
__device__ __forceinline__ void recursion(
    const float *x, const float *factors, const float *ends, const unsigned int *offsets, int tags, int rows, bool is_backward,
    float *y, float *maxima
) {
    DYNAMIC_SHARED(float, shared);
    const int first = offsets[blockIdx.x];
    const int tokens = static_cast<int>(offsets[blockIdx.x + 1]) - first;
    const float *matrix = factors;
    if (IN_SHARED) {
        float *copy = shared + 2 * rows;
        for (int at = threadIdx.x; at < rows * tags; at += blockDim.x) {
            copy[at] = factors[at];
        }
        matrix = copy;
    }
    for (int at = threadIdx.x; at < 2 * rows; at += blockDim.x) {
        shared[at] = 0.0f;
    }
    __syncthreads();
    for (int step = 0; step < tokens; ++step) {
        const int token = is_backward ? first + tokens - 1 - step : first + step;
        const int before = is_backward ? token + 1 : token - 1;
        const float *vector = shared + step % 2 * rows;
        float *next = shared + (step + 1) % 2 * rows;
        const unsigned long long row = static_cast<unsigned long long>(token) * tags;
        for (int tag = threadIdx.x; tag < tags; tag += blockDim.x) {
            const float emitted = x[row + tag];
            float sum = 0.0f;
            if (step == 0) {
                sum = ends[tag];
            } else {
                float largest;
                sum = scaled_product(vector, matrix + tag, rows, tags, largest);
                if (tag == 0) {
                    maxima[before] = largest;
                }
            }
            y[row + tag] = sum;
            next[tag] = sum * emitted;
        }
        __syncthreads();
    }
}

}  // namespace

// From `transitions` A [tags, tags], `start` s and `end` z [tags], and what is `forbidden` [tags + 1, tags], steps and then
// starts: `factors` F and Fᵀ [2, rows, tags], exp(s − max s) and exp(z − max z) as `ends` [2, tags], and their logarithms
// max A and max s + max z as `logs` [2]. Each block finds the maxima anew.
extern "C" __global__ void __launch_bounds__(256) crf_factors(
    const float *transitions, const float *start, const float *end, const unsigned char *forbidden, int tags, int rows,
    float *factors, float *ends, float *logs
) {
    const unsigned char *forbidden_starts = forbidden + tags * tags;
    const float of_steps = largest_weight(transitions, forbidden, tags * tags);
    const float of_starts = largest_weight(start, forbidden_starts, tags);
    const float of_ends = largest_weight(end, nullptr, tags);
    const int values = rows * tags;
    for (int at = first_index(); at < values; at += stride()) {
        const int from = at / tags;
        const int turned = at % tags * tags + from;
        factors[at] = from < tags ? factor(transitions, forbidden, at, of_steps) : 0.0f;
        factors[values + at] = from < tags ? factor(transitions, forbidden, turned, of_steps) : 0.0f;
    }
    for (int tag = first_index(); tag < tags; tag += stride()) {
        ends[tag] = factor(start, forbidden_starts, tag, of_starts);
        ends[tags + tag] = factor(end, nullptr, tag, of_ends);
    }
    if (first_index() == 0) {
        logs[0] = of_steps;
        logs[1] = of_starts + of_ends;
    }
}

// x [tokens, tags] and max e [tokens] of the emissions e; a warp a token.
extern "C" __global__ void __launch_bounds__(256)
    crf_emission_factors(const float *emissions, int tokens, int tags, float *x, float *maxima) {
    const int token = first_index() / WARP;
    if (token >= tokens) {
        return;
    }
    emissions += static_cast<unsigned long long>(token) * tags;
    x += static_cast<unsigned long long>(token) * tags;
    float largest = __uint_as_float(0xff800000);
    for (int tag = threadIdx.x % WARP; tag < tags; tag += WARP) {
        largest = fmaxf(largest, emissions[tag]);
    }
    largest = warp_max(largest);
    for (int tag = threadIdx.x % WARP; tag < tags; tag += WARP) {
        x[tag] = expf(emissions[tag] - largest);
    }
    if (threadIdx.x % WARP == 0) {
        maxima[token] = largest;
    }
}

// a and b [tokens, tags], and max u of every token but a text's last and max w of every token but its first as `maxima`
// [2, tokens]. Block (text, way) with a thread a tag; F or Fᵀ lies in shared memory, after two vectors of `rows` values.
extern "C" __global__ void __launch_bounds__(256) crf_recursion_in_shared(
    const float *x, const float *factors, const float *ends, const unsigned int *offsets, int tokens, int tags, int rows,
    float *a, float *b, float *maxima
) {
    if (blockIdx.y == 0) {
        recursion<true>(x, factors, ends, offsets, tags, rows, false, a, maxima);
    } else {
        recursion<true>(x, factors + rows * tags, ends + tags, offsets, tags, rows, true, b, maxima + tokens);
    }
}

// The same where F is too large for shared memory, and comes through the cache.
extern "C" __global__ void __launch_bounds__(256) crf_recursion(
    const float *x, const float *factors, const float *ends, const unsigned int *offsets, int tokens, int tags, int rows,
    float *a, float *b, float *maxima
) {
    if (blockIdx.y == 0) {
        recursion<false>(x, factors, ends, offsets, tags, rows, false, a, maxima);
    } else {
        recursion<false>(x, factors + rows * tags, ends + tags, offsets, tags, rows, true, b, maxima + tokens);
    }
}

// What follows from both ways: u in the place of a, the marginals and r [tokens, tags]; r is 0 at a text's last token. Of each
// text log Z − score(y) as `losses` [texts], the score 0 where no tags y are given; and whether all that can be trusted: if not,
// the loss is without log Z. A block a text, a warp a token.
extern "C" __global__ void __launch_bounds__(256) crf_probabilities(
    const float *emissions, const float *emission_maxima, const float *x, const float *transitions, const float *start,
    const float *end, const float *logs, const unsigned int *y, const unsigned int *offsets, int tokens, int tags, float *a,
    const float *b, const float *maxima, float *marginals, float *r, double *losses, int *is_trusted
) {
    constexpr int WARPS = 8;
    __shared__ double log_of_warp[WARPS];
    __shared__ double score_of_warp[WARPS];
    const int lane = threadIdx.x % WARP;
    const int warp = threadIdx.x / WARP;
    const int first = offsets[blockIdx.x];
    const int last = static_cast<int>(offsets[blockIdx.x + 1]) - 1;
    double log_partition = 0.0;
    double score = 0.0;
    float smallest_maximum = 1.0f;
    float smallest_agreement = 1.0f;
    for (int token = first + warp; token <= last; token += WARPS) {
        const unsigned long long row = static_cast<unsigned long long>(token) * tags;
        float agreement = 0.0f;
        for (int tag = lane; tag < tags; tag += WARP) {
            const float share = a[row + tag] * x[row + tag];
            a[row + tag] = share;
            agreement += share * b[row + tag];
        }
        agreement = warp_sum(agreement);
        const float next_maximum = token < last ? maxima[tokens + token + 1] : 1.0f;
        for (int tag = lane; tag < tags; tag += WARP) {
            const unsigned long long next = row + tags + tag;
            marginals[row + tag] = a[row + tag] * b[row + tag] / agreement;
            r[row + tag] = token < last ? x[next] * b[next] / (agreement * next_maximum) : 0.0f;
        }
        // Compared so that NaN is the smallest.
        smallest_agreement = agreement >= smallest_agreement ? smallest_agreement : fmaxf(agreement, 0.0f);
        log_partition += emission_maxima[token];
        if (token == last) {
            log_partition += static_cast<double>(logs[1]) + logf(agreement);
        } else {
            const float smaller = fminf(maxima[token], next_maximum);
            smallest_maximum = smaller >= smallest_maximum ? smallest_maximum : fmaxf(smaller, 0.0f);
            log_partition += static_cast<double>(logs[0]) + logf(maxima[token]);
        }
        if (y != nullptr) {
            const int tag = y[token];
            score += emissions[row + tag];
            score += token == first ? start[tag] : transitions[static_cast<int>(y[token - 1]) * tags + tag];
            score += token == last ? end[tag] : 0.0f;
        }
    }
    if (lane == 0) {
        log_of_warp[warp] = log_partition;
        score_of_warp[warp] = score;
    }
    smallest_maximum = -block_max(-smallest_maximum);
    smallest_agreement = -block_max(-smallest_agreement);
    if (threadIdx.x != 0) {
        return;
    }
    for (int other = 1; other < WARPS; ++other) {
        log_partition += log_of_warp[other];
        score += score_of_warp[other];
    }
    const bool is_finite = log_partition - log_partition == 0.0;
    const bool trusted = is_finite && smallest_maximum * smallest_maximum * smallest_agreement >= LEAST;
    losses[blockIdx.x] = (trusted ? log_partition : 0.0) - score;
    is_trusted[blockIdx.x] = trusted;
}

// loss = Σ losses [texts] / tokens, by one warp.
extern "C" __global__ void __launch_bounds__(32)
    crf_mean(const double *losses, int texts, float tokens, float *loss) {
    __shared__ double sums[WARP];
    double sum = 0.0;
    for (int text = threadIdx.x; text < texts; text += WARP) {
        sum += losses[text];
    }
    sums[threadIdx.x] = sum;
    __syncwarp();
    if (threadIdx.x == 0) {
        for (unsigned int lane = 1; lane < WARP; ++lane) {
            sum += sums[lane];
        }
        *loss = static_cast<float>(sum / tokens);
    }
}
