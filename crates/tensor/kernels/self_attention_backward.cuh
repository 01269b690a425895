// Self-attention of packed texts, backward; what its kernels are instances of.
//
//   dO [tokens, width]   →   dQ, dK, dV side by side [tokens, 3 · width]
//   W = exp(S − L)     D = Σ_columns dO ⊙ O     dW = M ⊙ (dO Vᵀ) / (1 − p)     dS = W ⊙ (dW − D)
//   dV = (M ⊙ W / (1 − p))ᵀ dO                  dQ = dS K / √d                 dK = dSᵀ Q / √d
//
// of each head and each text, with S, L and M of the forward; D [heads, tokens] is Σ_keys W ⊙ dW.
//
// A text of one tile has one block a head for all three (self_attention_whole.cu). In a longer one, each tile of queries has
// a block that goes over the keys for dQ (self_attention_queries.cu), and each tile of keys one that goes over the queries for
// dK and dV (self_attention_keys.cu), so that every sum is in one block and in one order. Each kernel leaves out the texts
// that are another's.
#pragma once

#include "self_attention.cuh"

// The tiles of a block.
template <int D>
struct Tiles {
    float *const query;
    float *const key;
    float *const value;
    float *const d_output;
    // M ⊙ W / (1 − p) and dS / √d, [32, 32].
    float *const weights;
    float *const d_scores;

    __device__ __forceinline__ explicit Tiles(float *shared)
        : query(shared),
          key(query + TILE_FLOATS<D>),
          value(key + TILE_FLOATS<D>),
          d_output(value + TILE_FLOATS<D>),
          weights(d_output + TILE_FLOATS<D>),
          d_scores(weights + SCORES) {}
};

struct Gradients {
    const float *projections;
    const float *log_sums;
    const float *row_sums;
    const float *d_output;
    float *gradients;
};

// The thread's weights and their gradients, for queries from `queries` on and keys from `keys` on.
template <int D>
__device__ __forceinline__ void
score(const Attention &attention, const Head &head, const Gradients &of, Tiles<D> tiles, int queries, int keys) {
    const float scale = 1.0f / sqrtf(static_cast<float>(attention.head_width));
    float log_sums[2];
    float row_sums[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int row = queries + own_row() + i;
        const unsigned long long place = head.first_row(attention) + row;
        log_sums[i] = row < head.n ? of.log_sums[place] : 0.0f;
        row_sums[i] = row < head.n ? of.row_sums[place] : 0.0f;
    }
    float scores[2][4];
    float d_weights[2][4];
    multiply<D>(tiles.query, tiles.key, scores);
    multiply<D>(tiles.d_output, tiles.value, d_weights);
    const unsigned int kept = kept_weights(attention, head, queries, keys);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int row = queries + own_row() + i;
        float weights[4];
        float d_scores[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const bool is_seen = sees(attention, row, keys + own_column() + j, head.n);
            const float weight = is_seen ? expf(scores[i][j] * scale - log_sums[i]) : 0.0f;
            const float grown = factor(attention, kept, i, j);
            weights[j] = weight * grown;
            d_scores[j] = weight * (d_weights[i][j] * grown - row_sums[i]) * scale;
        }
        const int place = (own_row() + i) * SCORES_STRIDE + own_column();
        *reinterpret_cast<float4 *>(tiles.weights + place) =
            make_float4(weights[0], weights[1], weights[2], weights[3]);
        *reinterpret_cast<float4 *>(tiles.d_scores + place) =
            make_float4(d_scores[0], d_scores[1], d_scores[2], d_scores[3]);
    }
}

template <int D, bool OF_QUERIES, bool OF_KEYS>
__device__ __forceinline__ void attend_backward(const Attention &attention, const Gradients &of) {
    DYNAMIC_SHARED(float, shared);
    constexpr bool OF_WHOLE_TEXT = OF_QUERIES && OF_KEYS;
    const Head head(attention);
    const int first = blockIdx.z * TILE;
    if (first >= head.n || (head.n <= TILE) != OF_WHOLE_TEXT) {
        return;
    }
    const Tiles<D> tiles(shared);
    const int width = attention.head_width;
    const Columns query_columns = head.columns(attention, of.projections, 0, 3);
    const Columns key_columns = head.columns(attention, of.projections, 1, 3);
    const Columns value_columns = head.columns(attention, of.projections, 2, 3);
    const Columns d_output_columns = head.columns(attention, of.d_output, 0, 1);
    const auto load_queries = [&](int queries) {
        load<D, 2>({tiles.query, tiles.d_output}, {query_columns, d_output_columns}, queries, head.n, width);
    };
    const auto load_keys = [&](int keys) {
        load<D, 2>({tiles.key, tiles.value}, {key_columns, value_columns}, keys, head.n, width);
    };
    Part<D> d_query;
    Part<D> d_key;
    Part<D> d_value;
    clear<D>(d_query);
    clear<D>(d_key);
    clear<D>(d_value);
    if (OF_QUERIES) {
        load_queries(first);
    }
    if (OF_KEYS) {
        load_keys(first);
    }
    const int end = seen_until(attention, first, head.n);
    for (int other = seen_from(attention, first); other < end; other += TILE) {
        // Others may still read the tiles before.
        __syncthreads();
        if (!OF_QUERIES) {
            load_queries(other);
        }
        if (!OF_KEYS) {
            load_keys(other);
        }
        __syncthreads();
        const int queries = OF_QUERIES ? first : other;
        const int keys = OF_KEYS ? first : other;
        if (warp_has_rows(queries, head.n)) {
            score<D>(attention, head, of, tiles, queries, keys);
        }
        // A warp reads the weights of its queries only, or those of all queries to its keys.
        if (OF_KEYS) {
            __syncthreads();
        } else {
            __syncwarp();
        }
        if (!warp_has_rows(first, head.n)) {
            continue;
        }
        if (OF_QUERIES) {
            add_product<D>(tiles.d_scores, tiles.key, min(TILE, head.n - keys), d_query);
        }
        if (OF_KEYS) {
            const int count = min(TILE, head.n - queries);
            add_transposed_product<D>(tiles.d_scores, tiles.query, count, d_key);
            add_transposed_product<D>(tiles.weights, tiles.d_output, count, d_value);
        }
    }
    if (OF_QUERIES) {
        store<D>(d_query, head.columns(attention, of.gradients, 0, 3), first, head.n, width);
    }
    if (OF_KEYS) {
        store<D>(d_key, head.columns(attention, of.gradients, 1, 3), first, head.n, width);
        store<D>(d_value, head.columns(attention, of.gradients, 2, 3), first, head.n, width);
    }
}

#define GRADIENT_PARAMETERS \
    const float *projections, const float *log_sums, const float *row_sums, const float *d_output, float *gradients
#define GRADIENTS {projections, log_sums, row_sums, d_output, gradients}
