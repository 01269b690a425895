// Matrices side by side, and taken apart again; the kernel of ops/concatenate.rs.

#include "common.cuh"

// to_{r, c} = from_{r, c} for r < rows, c < columns: neighbouring columns of matrices of `from_width` and `to_width`, each
// given by the place of its first value that is copied. A row is one warp's.
extern "C" __global__ void __launch_bounds__(256) copy_columns(
    const float *from, int from_width, float *to, int to_width, unsigned int rows, int columns
) {
    const unsigned long long row = first_index() / WARP;
    if (row >= rows) {
        return;
    }
    for (int column = threadIdx.x % WARP; column < columns; column += WARP) {
        to[row * to_width + column] = from[row * from_width + column];
    }
}
