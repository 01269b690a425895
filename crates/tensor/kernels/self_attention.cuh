// What self_attention.cu and self_attention_backward.cu share: tiles of rows in shared memory and products of them.
//
// A block of 128 threads has one head of one text and works on tiles of 32 queries and 32 keys, head width D = 32, 64 or
// 128; a narrower head's rows are padded with zeros. Of a tile of scores [32, 32] each warp has eight rows and each thread two
// rows and four neighbouring columns: four weights of one row, which one draw of the generator decides about. Of a product
// [32, D] it has the same two rows and four neighbours of each 32 columns. So every number that is read from shared memory
// enters at least two products, and threads that read at once read other banks or the same numbers.
#pragma once

#include "common.cuh"
#include "philox.cuh"

// Queries, or keys, of a tile.
constexpr int TILE = 32;
constexpr int THREADS = 128;
// Rows of a tile that a warp has.
constexpr int WARP_ROWS = 8;
// Columns of a product that the threads of a row have at a time, four each.
constexpr int COLUMNS = 32;
// Floats from one row of scores to the next.
constexpr int SCORES_STRIDE = TILE + 4;
constexpr int SCORES = TILE * SCORES_STRIDE;

// Floats from one row of a tile to the next within four that begin with a multiple of four.
template <int D>
constexpr int STRIDE = D + 4;

// Where row `row` of a tile begins. Every fourth row moves on by four floats more: then neither eight rows that are four
// apart nor four that are two apart begin in the same bank.
template <int D>
__device__ __forceinline__ constexpr int place(int row) {
    return row * STRIDE<D> + row / 4 * 4;
}

// Floats of a tile.
template <int D>
constexpr int TILE_FLOATS = TILE * (D + 5);

// What the host knows. The parameters of every kernel begin with it; a kernel of many parameters is launched at once, a
// structure in memory would have to be copied there.
#define ATTENTION_PARAMETERS \
    const unsigned int *offsets, int tokens, int heads, int head_width, int window, unsigned long long seed, \
        unsigned long long stream, unsigned int threshold, float growth
#define ATTENTION {offsets, tokens, heads, head_width, window, seed, stream, threshold, growth}

struct Attention {
    // Where the texts begin and end, [texts + 1].
    const unsigned int *offsets;
    int tokens;
    int heads;
    int head_width;
    // How far a token sees, at most the length of the longest text.
    int window;
    // Weights whose number is below the threshold are dropped, the others grow; the threshold is 0 where none is dropped.
    unsigned long long seed;
    unsigned long long stream;
    unsigned int threshold;
    float growth;
};

// One head's columns of a text's rows.
struct Columns {
    float *values;
    unsigned long long stride;
};

// The head and the text of a block, (text, head, tile) = (x, y, z).
struct Head {
    // The text's first row, and its tokens.
    unsigned long long start;
    int n;
    int index;

    __device__ __forceinline__ explicit Head(const Attention &attention)
        : start(attention.offsets[blockIdx.x]),
          n(static_cast<int>(attention.offsets[blockIdx.x + 1] - attention.offsets[blockIdx.x])),
          index(blockIdx.y) {}

    // Its columns of a matrix [tokens, parts · width], in part `part` of each row.
    __device__ __forceinline__ Columns
    columns(const Attention &attention, const float *matrix, int part, int parts) const {
        const unsigned long long width = static_cast<unsigned long long>(attention.heads) * attention.head_width;
        const unsigned long long first = start * parts * width + part * width + index * attention.head_width;
        return {const_cast<float *>(matrix) + first, parts * width};
    }

    // Where the text's rows begin among numbers [heads, tokens].
    __device__ __forceinline__ unsigned long long first_row(const Attention &attention) const {
        return static_cast<unsigned long long>(index) * attention.tokens + start;
    }
};

// The first of the thread's two rows of a tile.
__device__ __forceinline__ int own_row() {
    return threadIdx.x / 8 * 2;
}

// The first of its four neighbouring columns.
__device__ __forceinline__ int own_column() {
    return threadIdx.x % 8 * 4;
}

// Whether the warp has a row of the n that begin `first` rows before this tile; the same in all its lanes.
__device__ __forceinline__ bool warp_has_rows(int first, int n) {
    return first + static_cast<int>(threadIdx.x / WARP) * WARP_ROWS < n;
}

// Four neighbours in shared memory. Left to itself, NVRTC reads two of them twice now and then, others at each compilation:
// with the instruction written out, the PTX is always the same.
__device__ __forceinline__ float4 four(const float *values) {
#ifdef __CUDACC_RTC__
    const unsigned int address = static_cast<unsigned int>(__cvta_generic_to_shared(values));
    float4 read;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(read.x), "=f"(read.y), "=f"(read.z), "=f"(read.w)
                 : "r"(address)
                 : "memory");
    return read;
#else
    return *reinterpret_cast<const float4 *>(values);
#endif
}

// Rows `first` … of n of one or two matrices, zeros beyond the last and beyond the head's width.
template <int D, int N>
__device__ __forceinline__ void
load(float *const (&tiles)[N], const Columns (&from)[N], int first, int n, int head_width) {
    // A thread has one column, and four rows of each matrix at a time.
    const int column = threadIdx.x % D;
    const int rows = column < head_width ? n - first : 0;
#pragma unroll 1
    for (int row = threadIdx.x / D * 4; row < TILE; row += THREADS / D * 4) {
#pragma unroll
        for (int which = 0; which < N; ++which) {
            const float *source = from[which].values + (first + row) * from[which].stride + column;
            float *const to = tiles[which] + place<D>(row) + column;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                to[i * STRIDE<D>] = row + i < rows ? *source : 0.0f;
                source += from[which].stride;
            }
        }
    }
}

// products[i][j] = left_i · right_j of the thread's two rows of one tile and four of another.
template <int D>
__device__ __forceinline__ void multiply(const float *left, const float *right, float (&products)[2][4]) {
    left += place<D>(own_row());
    right += place<D>(own_column());
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            products[i][j] = 0.0f;
        }
    }
#pragma unroll 2
    for (int column = 0; column < D; column += 4) {
        const float4 l[2] = {four(left + column), four(left + STRIDE<D> + column)};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const float4 r = four(right + j * STRIDE<D> + column);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                products[i][j] += l[i].x * r.x;
                products[i][j] += l[i].y * r.y;
                products[i][j] += l[i].z * r.z;
                products[i][j] += l[i].w * r.w;
            }
        }
    }
}

// The thread's part of a product [32, D].
template <int D>
using Part = float4[2][D / COLUMNS];

template <int D>
__device__ __forceinline__ void clear(Part<D> &part) {
#pragma unroll
    for (int m = 0; m < D / COLUMNS; ++m) {
        part[0][m] = part[1][m] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
}

__device__ __forceinline__ void add(float4 &sum, float weight, float4 values) {
    sum.x += weight * values.x;
    sum.y += weight * values.y;
    sum.z += weight * values.z;
    sum.w += weight * values.w;
}

// sum[0] += first · row and sum[1] += second · row, where `row` is at the thread's columns of a row of a tile.
template <int D>
__device__ __forceinline__ void add_row(float first, float second, const float *row, Part<D> &sum) {
#pragma unroll
    for (int m = 0; m < D / COLUMNS; ++m) {
        const float4 values = four(row + m * COLUMNS);
        add(sum[0][m], first, values);
        add(sum[1][m], second, values);
    }
}

// sum += scores [32, count] · tile [count, D].
template <int D>
__device__ __forceinline__ void add_product(const float *scores, const float *tile, int count, Part<D> &sum) {
    scores += own_row() * SCORES_STRIDE;
    tile += own_column();
#pragma unroll 1
    for (int key = 0; key < count; key += 4) {
        const float4 first = four(scores + key);
        const float4 second = four(scores + SCORES_STRIDE + key);
        const float *row = tile + place<D>(key);
        add_row<D>(first.x, second.x, row, sum);
        add_row<D>(first.y, second.y, row + STRIDE<D>, sum);
        add_row<D>(first.z, second.z, row + 2 * STRIDE<D>, sum);
        add_row<D>(first.w, second.w, row + 3 * STRIDE<D>, sum);
    }
}

// sum += scoresᵀ [32, count] · tile [count, D].
template <int D>
__device__ __forceinline__ void
add_transposed_product(const float *scores, const float *tile, int count, Part<D> &sum) {
    scores += own_row();
    tile += own_column();
#pragma unroll 2
    for (int query = 0; query < count; ++query) {
        const float2 pair = *reinterpret_cast<const float2 *>(scores + query * SCORES_STRIDE);
        add_row<D>(pair.x, pair.y, tile + place<D>(query), sum);
    }
}

// Writes the part into rows `first` … of n.
template <int D>
__device__ __forceinline__ void store(const Part<D> &part, Columns to, int first, int n, int head_width) {
    const int columns = head_width - own_column();
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int row = first + own_row() + i;
        if (row >= n) {
            return;
        }
        float *const values = to.values + row * to.stride + own_column();
#pragma unroll
        for (int m = 0; m < D / COLUMNS; ++m) {
            const float four[4] = {part[i][m].x, part[i][m].y, part[i][m].z, part[i][m].w};
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                if (m * COLUMNS + j < columns) {
                    values[m * COLUMNS + j] = four[j];
                }
            }
        }
    }
}

// Whether a query of a text of n tokens sees a key.
__device__ __forceinline__ bool sees(const Attention &attention, int query, int key, int n) {
    return query < n && key < n && abs(query - key) <= attention.window;
}

// Which weights are kept, for queries and keys from these on: bit 4i + j is that of the thread's row i and column j. The
// weights of keys 4k to 4k + 3 have the numbers of block `head · 2⁴⁸ + start · 2¹⁶ + query · ⌈n / 4⌉ + k` of the stream.
__device__ __forceinline__ unsigned int
kept_weights(const Attention &attention, const Head &head, int queries, int keys) {
    if (attention.threshold == 0) {
        return 0xff;
    }
    const unsigned long long first = static_cast<unsigned long long>(head.index) << 48 | head.start << 16;
    unsigned int kept = 0;
#pragma unroll 1
    for (int i = 0; i < 2; ++i) {
        const unsigned long long query = queries + own_row() + i;
        const unsigned long long index = first + query * ((head.n + 3) / 4) + (keys + own_column()) / 4;
        const uint4 drawn = philox(index, attention.seed, attention.stream);
        const unsigned int numbers[4] = {drawn.x, drawn.y, drawn.z, drawn.w};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            kept |= static_cast<unsigned int>(numbers[j] >= attention.threshold) << (4 * i + j);
        }
    }
    return kept;
}

// What a weight is multiplied with: 0 or 1 / (1 − p).
__device__ __forceinline__ float factor(const Attention &attention, unsigned int kept, int i, int j) {
    return kept >> (4 * i + j) & 1 ? attention.growth : 0.0f;
}

// The first row of a tile that rows `first` … of a tile may see; and the end of those rows.
__device__ __forceinline__ int seen_from(const Attention &attention, int first) {
    return max(first - attention.window, 0) / TILE * TILE;
}

__device__ __forceinline__ int seen_until(const Attention &attention, int first, int n) {
    return min(first + TILE + attention.window, n);
}
