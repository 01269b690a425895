// Each row to mean 0 and variance 1, then stretched and shifted; the kernels of ops/layer_norm.rs.
//
//   X [rows, width]   g, b [width]   →   Y [rows, width]
//   X̂ = (X − μ) / σ         μ, σ² = mean and variance of the row, σ = √(variance + ε)
//   Y = g ⊙ X̂ + b
//
//   dX̂ = g ⊙ dY
//   dX = (dX̂ − mean(dX̂) − X̂ ⊙ mean(dX̂ ⊙ X̂)) / σ
//   dg = Σ_rows dY ⊙ X̂      db = Σ_rows dY
//
// `statistics [rows, 2]`: μ and 1/σ of each row.

#include "dropout.cuh"
#include "layer_norm.cuh"

// A block a row.
extern "C" __global__ void __launch_bounds__(512) layer_norm_forward(
    const float *x, const float *gain, const float *bias, int width, float epsilon, float *y, float *statistics
) {
    const unsigned long long start = static_cast<unsigned long long>(blockIdx.x) * width;
    Row row(x + start);
    each_column(width, [&](int column, int slot) { row.keep(slot, row.memory[column]); });
    normalise(row, gain, bias, width, epsilon, y + start, statistics + 2ull * blockIdx.x);
}

// dX, and `masked` = m ⊙ dX / (1 − p) unless it is null. A block a row.
extern "C" __global__ void __launch_bounds__(512) layer_norm_backward(
    const float *x, const float *dy, const float *gain, const float *statistics, int width, float *dx, float *masked,
    unsigned long long seed, unsigned long long stream, unsigned int threshold, float growth
) {
    const unsigned long long start = static_cast<unsigned long long>(blockIdx.x) * width;
    const float mean = statistics[2ull * blockIdx.x];
    const float inverse_deviation = statistics[2ull * blockIdx.x + 1];
    Row row(x + start);
    Row d_row(dy + start);
    float sum = 0.0f;
    float sum_of_products = 0.0f;
    each_column(width, [&](int column, int slot) {
        const float value = row.memory[column];
        const float dy_value = d_row.memory[column];
        row.keep(slot, value);
        d_row.keep(slot, dy_value);
        const float d = gain[column] * dy_value;
        sum += d;
        sum_of_products += d * ((value - mean) * inverse_deviation);
    });
    const float mean_of_d = block_sum(sum) / width;
    const float mean_of_product = block_sum(sum_of_products) / width;
    Dropout dropout(seed, stream, threshold, growth);
    const auto begin = [&](int first) {
        if (masked != nullptr) {
            dropout.draw(start + first);
        }
    };
    each_column(width, begin, [&](int column, int slot) {
        const float normal = (row.at(column, slot) - mean) * inverse_deviation;
        const float d = gain[column] * d_row.at(column, slot);
        const float value = (d - mean_of_d - normal * mean_of_product) * inverse_deviation;
        dx[start + column] = value;
        if (masked != nullptr) {
            masked[start + column] = dropout.value(value, column % CHUNK);
        }
    });
}

// The terms of dg, then those of db, each summed over `rows_a_block` rows: `sums [⌈rows / rows_a_block⌉, 2 · width]`.
//
// A block of 256 threads sums 32 columns of its rows: each warp every eighth row, then the warps' sums are added in order.
extern "C" __global__ void __launch_bounds__(256) layer_norm_sums(
    const float *x, const float *dy, const float *statistics, int rows, int width, int rows_a_block, float *sums
) {
    constexpr int WARPS = 8;
    __shared__ float2 of_warp[WARPS][WARP];
    const int lane = threadIdx.x % WARP;
    const int warp = threadIdx.x / WARP;
    const int column = blockIdx.x * WARP + lane;
    const int first = blockIdx.y * rows_a_block;
    const int end = min(rows, first + rows_a_block);
    float2 sum = make_float2(0.0f, 0.0f);
    if (column < width) {
        for (int row = first + warp; row < end; row += WARPS) {
            const unsigned long long i = static_cast<unsigned long long>(row) * width + column;
            sum.x += dy[i] * ((x[i] - statistics[2ull * row]) * statistics[2ull * row + 1]);
            sum.y += dy[i];
        }
    }
    of_warp[warp][lane] = sum;
    __syncthreads();
    if (warp == 0 && column < width) {
        for (int other = 1; other < WARPS; ++other) {
            sum.x += of_warp[other][lane].x;
            sum.y += of_warp[other][lane].y;
        }
        float *of_block = sums + 2ull * blockIdx.y * width;
        of_block[column] = sum.x;
        of_block[width + column] = sum.y;
    }
}
