// The forward of ops/embedding.rs, and of ops/gather_rows.rs.
//
//   table [table_rows, width]   ids [rows · a_row]   →   Y [rows, width]     Y_p = Σ_{i < a_row} table_{id_{p a_row + i}}

#include "common.cuh"

// The sum is added to what Y holds, if `adds`. A row of Y is one warp's.
extern "C" __global__ void __launch_bounds__(256) sum_named_rows(
    const float *table, const unsigned int *ids, int a_row, unsigned int rows, int width, int adds, float *y
) {
    const unsigned long long row = first_index() / WARP;
    if (row >= rows) {
        return;
    }
    for (int column = threadIdx.x % WARP; column < width; column += WARP) {
        float sum = adds ? y[row * width + column] : 0.0f;
        for (int i = 0; i < a_row; ++i) {
            const unsigned long long id = ids[row * a_row + i];
            sum += table[id * width + column];
        }
        y[row * width + column] = sum;
    }
}
