// Self-attention of packed texts, forward; the kernels of ops/self_attention.
//
//   rows of Q, K, V side by side [tokens, 3 · width]   →   O [tokens, width], L [heads, tokens]
//   S = Q Kᵀ / √d     L = log Σ_keys exp S     W = exp(S − L)     O = (M ⊙ W / (1 − p)) V
//
// of each head of d columns and each text; S_ij = −∞ where |i − j| exceeds the window. L is kept for the backward, whose
// first step is here too.
//
// Block (text, head, tile) goes with its 32 queries over the tiles of keys that they see. The softmax is made on the way:
// O and the sum of the exponentials are of those relative to the largest score so far, and shrink where it grows
// (Milakov and Gimelshein, Online normalizer calculation for softmax, 2018; Dao et al., FlashAttention, NeurIPS 2022).

#include "self_attention.cuh"

namespace {

// The score of a key that is not seen.
__device__ __forceinline__ float minus_infinity() {
    return __uint_as_float(0xff800000);
}

// The largest value, and the sum, of the eight threads that have a row together.
__device__ __forceinline__ float row_max(float value) {
    for (int distance = 4; distance > 0; distance /= 2) {
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, distance));
    }
    return value;
}

__device__ __forceinline__ float row_sum(float value) {
    for (int distance = 4; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    }
    return value;
}

// What is known of a row of scores so far.
struct Row {
    // −∞ before a key was seen.
    float largest;
    // Σ exp(S − largest) over the thread's keys.
    float sum;

    // Takes four more scores, which become exponentials; returns what earlier ones are to be multiplied with.
    __device__ __forceinline__ float take(float (&scores)[4]) {
        const float of_tile = fmaxf(fmaxf(scores[0], scores[1]), fmaxf(scores[2], scores[3]));
        const float next = fmaxf(largest, row_max(of_tile));
        // No key seen yet: −∞ − −∞ would be NaN.
        const float base = next == minus_infinity() ? 0.0f : next;
        const float shrinkage = expf(largest - base);
        largest = next;
        sum *= shrinkage;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            scores[j] = expf(scores[j] - base);
            sum += scores[j];
        }
        return shrinkage;
    }
};

template <int D>
__device__ __forceinline__ void
attend(const Attention &attention, const float *projections, float *output, float *log_sums) {
    DYNAMIC_SHARED(float, shared);
    const Head head(attention);
    const int first = blockIdx.z * TILE;
    if (first >= head.n) {
        return;
    }
    float *const query = shared;
    float *const key = query + TILE_FLOATS<D>;
    float *const value = key + TILE_FLOATS<D>;
    float *const weights = value + TILE_FLOATS<D>;
    const int width = attention.head_width;
    const float scale = 1.0f / sqrtf(static_cast<float>(width));
    Row rows[2] = {{minus_infinity(), 0.0f}, {minus_infinity(), 0.0f}};
    Part<D> sum;
    clear<D>(sum);
    load<D, 1>({query}, {head.columns(attention, projections, 0, 3)}, first, head.n, width);
    const Columns key_columns = head.columns(attention, projections, 1, 3);
    const Columns value_columns = head.columns(attention, projections, 2, 3);
    const int end = seen_until(attention, first, head.n);
    for (int keys = seen_from(attention, first); keys < end; keys += TILE) {
        // Others may still read the tiles before.
        __syncthreads();
        load<D, 2>({key, value}, {key_columns, value_columns}, keys, head.n, width);
        __syncthreads();
        if (!warp_has_rows(first, head.n)) {
            continue;
        }
        float scores[2][4];
        multiply<D>(query, key, scores);
        const unsigned int kept = kept_weights(attention, head, first, keys);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int row = first + own_row() + i;
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const bool is_seen = sees(attention, row, keys + own_column() + j, head.n);
                scores[i][j] = is_seen ? scores[i][j] * scale : minus_infinity();
            }
            const float shrinkage = rows[i].take(scores[i]);
#pragma unroll
            for (int m = 0; m < D / COLUMNS; ++m) {
                float4 &part = sum[i][m];
                part = make_float4(
                    part.x * shrinkage, part.y * shrinkage, part.z * shrinkage, part.w * shrinkage
                );
            }
            float *const to = weights + (own_row() + i) * SCORES_STRIDE + own_column();
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                scores[i][j] *= factor(attention, kept, i, j);
            }
            *reinterpret_cast<float4 *>(to) = make_float4(scores[i][0], scores[i][1], scores[i][2], scores[i][3]);
        }
        // A warp reads only the weights of its own rows.
        __syncwarp();
        add_product<D>(weights, value, min(TILE, head.n - keys), sum);
    }
    if (!warp_has_rows(first, head.n)) {
        return;
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int row = first + own_row() + i;
        const float total = row_sum(rows[i].sum);
        const float inverse = 1.0f / total;
#pragma unroll
        for (int m = 0; m < D / COLUMNS; ++m) {
            float4 &part = sum[i][m];
            part = make_float4(part.x * inverse, part.y * inverse, part.z * inverse, part.w * inverse);
        }
        if (row < head.n && own_column() == 0) {
            log_sums[head.first_row(attention) + row] = rows[i].largest + logf(total);
        }
    }
    store<D>(sum, head.columns(attention, output, 0, 1), first, head.n, width);
}

}  // namespace

extern "C" __global__ void __launch_bounds__(THREADS)
    self_attention_32(ATTENTION_PARAMETERS, const float *projections, float *output, float *log_sums) {
    attend<32>(ATTENTION, projections, output, log_sums);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    self_attention_64(ATTENTION_PARAMETERS, const float *projections, float *output, float *log_sums) {
    attend<64>(ATTENTION, projections, output, log_sums);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    self_attention_128(ATTENTION_PARAMETERS, const float *projections, float *output, float *log_sums) {
    attend<128>(ATTENTION, projections, output, log_sums);
}

// For the backward, D = Σ_columns dO ⊙ O of each head's columns of each row, a warp each: [heads, tokens].
extern "C" __global__ void __launch_bounds__(256) self_attention_row_sums(
    const float *output, const float *d_output, int tokens, int heads, int head_width, float *row_sums
) {
    const unsigned long long index = first_index() / WARP;
    const unsigned long long row = index / heads;
    const unsigned long long head = index % heads;
    if (row >= static_cast<unsigned long long>(tokens)) {
        return;
    }
    const unsigned long long first = index * head_width;
    float sum = 0.0f;
    for (int column = threadIdx.x % WARP; column < head_width; column += WARP) {
        sum += output[first + column] * d_output[first + column];
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) {
        row_sums[head * tokens + row] = sum;
    }
}
