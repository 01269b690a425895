// Task attention over packed texts; the kernels of ops/task_attention.
//
//   X [tokens, width]   B [columns, width], columns = tasks · heads   →   α [tokens, columns], P [tasks, texts, heads, width]
//   of each text s and column c, a head of a task:
//   l_i = β_cᵀ x_i     α_i = exp(l_i) / Σ_{j ∈ s} exp(l_j)     P_{s,c} = Σ_{i ∈ s} α_i x_i
//
//   dα_i = dP_{s,c}ᵀ x_i     dl_i = α_i (dα_i − Σ_{j ∈ s} α_j dα_j)     dβ_{s,c} = Σ_{i ∈ s} dl_i x_i
//   dx_i = Σ_c (α_ic dP_{s,c} + dl_ic β_c)
//
// dβ [texts, columns, width] is summed over the texts afterwards. A text is read once a column; columns are few.

#include "common.cuh"

namespace {

constexpr int THREADS = 256;

using Index = unsigned long long;

// The text and the column of a block, (text, column) = (x, y).
struct TextColumn {
    Index first;
    Index end;
    int column;
    int columns;

    __device__ __forceinline__ explicit TextColumn(const unsigned int *offsets)
        : first(offsets[blockIdx.x]), end(offsets[blockIdx.x + 1]), column(blockIdx.y), columns(gridDim.y) {}

    // Where the number of a row lies in a matrix [tokens, columns].
    __device__ __forceinline__ Index place(Index row) const { return row * columns + column; }
};

// Where a text's row for a column begins in P or dP.
__device__ __forceinline__ Index pooled_row(int text, int texts, int column, int heads, int width) {
    return ((static_cast<Index>(column / heads) * texts + text) * heads + column % heads) * width;
}

// products[i] = x_iᵀ vector of each row of the text, a warp a row; visible to the block when it returns.
__device__ __forceinline__ void
multiply(const TextColumn &block, const float *x, const float *vector, int width, float *products) {
    const int lane = threadIdx.x % WARP;
    for (Index row = block.first + threadIdx.x / WARP; row < block.end; row += THREADS / WARP) {
        float sum = 0.0f;
        for (int i = lane; i < width; i += WARP) {
            sum += x[row * width + i] * vector[i];
        }
        sum = warp_sum(sum);
        if (lane == 0) {
            products[block.place(row)] = sum;
        }
    }
    __syncthreads();
}

// sums = Σ_i weights_i x_i over the text's rows.
__device__ __forceinline__ void
add_rows(const TextColumn &block, const float *x, const float *weights, int width, float *sums) {
    for (int i = threadIdx.x; i < width; i += THREADS) {
        float sum = 0.0f;
#pragma unroll 8
        for (Index row = block.first; row < block.end; ++row) {
            sum += weights[block.place(row)] * x[row * width + i];
        }
        sums[i] = sum;
    }
}

}  // namespace

// α and P of a text and a column: block (text, column).
extern "C" __global__ void __launch_bounds__(THREADS) task_attention_forward(
    const unsigned int *offsets, const float *x, const float *queries, int heads, int width, float *weights,
    float *pooled
) {
    const TextColumn block(offsets);
    multiply(block, x, queries + static_cast<Index>(block.column) * width, width, weights);
    const Index own = block.first + threadIdx.x;
    float largest = __uint_as_float(0xff800000);
    for (Index row = own; row < block.end; row += THREADS) {
        largest = fmaxf(largest, weights[block.place(row)]);
    }
    largest = block_max(largest);
    float sum = 0.0f;
    for (Index row = own; row < block.end; row += THREADS) {
        float &weight = weights[block.place(row)];
        weight = expf(weight - largest);
        sum += weight;
    }
    sum = block_sum(sum);
    for (Index row = own; row < block.end; row += THREADS) {
        weights[block.place(row)] /= sum;
    }
    __syncthreads();
    add_rows(block, x, weights, width, pooled + pooled_row(blockIdx.x, gridDim.x, block.column, heads, width));
}

// dl and dβ of a text and a column: block (text, column).
extern "C" __global__ void __launch_bounds__(THREADS) task_attention_d_logits(
    const unsigned int *offsets, const float *x, const float *weights, const float *d_pooled, int heads, int width,
    float *d_logits, float *d_queries
) {
    const TextColumn block(offsets);
    const float *const d_row = d_pooled + pooled_row(blockIdx.x, gridDim.x, block.column, heads, width);
    multiply(block, x, d_row, width, d_logits);
    const Index own = block.first + threadIdx.x;
    float sum = 0.0f;
    for (Index row = own; row < block.end; row += THREADS) {
        sum += weights[block.place(row)] * d_logits[block.place(row)];
    }
    sum = block_sum(sum);
    for (Index row = own; row < block.end; row += THREADS) {
        float &d_logit = d_logits[block.place(row)];
        d_logit = weights[block.place(row)] * (d_logit - sum);
    }
    __syncthreads();
    const Index of_text = static_cast<Index>(blockIdx.x) * block.columns + block.column;
    add_rows(block, x, d_logits, width, d_queries + of_text * width);
}

// dX of eight rows of a text: block (text, eight rows). Each thread has some columns of x, and reads dP and β once for all
// rows.
extern "C" __global__ void __launch_bounds__(THREADS) task_attention_dx(
    const unsigned int *offsets, const float *weights, const float *d_logits, const float *queries,
    const float *d_pooled, int columns, int heads, int width, float *dx
) {
    constexpr int ROWS = 8;
    const Index first = offsets[blockIdx.x] + static_cast<Index>(blockIdx.y) * ROWS;
    const Index end = offsets[blockIdx.x + 1];
    if (first >= end) {
        return;
    }
    const int rows = static_cast<int>(min(end - first, static_cast<Index>(ROWS)));
    weights += first * columns;
    d_logits += first * columns;
    dx += first * width;
    for (int i = threadIdx.x; i < width; i += THREADS) {
        float sums[ROWS] = {};
        for (int column = 0; column < columns; ++column) {
            const float query = queries[static_cast<Index>(column) * width + i];
            const float d = d_pooled[pooled_row(blockIdx.x, gridDim.x, column, heads, width) + i];
#pragma unroll
            for (int row = 0; row < ROWS; ++row) {
                // Rows beyond the last repeat it, and are not written.
                const int place = min(row, rows - 1) * columns + column;
                sums[row] += weights[place] * d + d_logits[place] * query;
            }
        }
#pragma unroll
        for (int row = 0; row < ROWS; ++row) {
            if (row < rows) {
                dx[row * width + i] = sums[row];
            }
        }
    }
}
