// Sums of rows that share an id; the kernel of ops/sum_by_id.rs.

#include "common.cuh"

// sums_{target_g} = Σ_{starts_g ≤ i < starts_{g + 1}} x_{chosen_i}     for each of the grid's groups g
//
// x, sums [.., width]. A block of 128 threads sums as many columns of one group, from its first row to its last. `x` may be
// rows of `sums` that are no target.
extern "C" __global__ void __launch_bounds__(128) sum_chosen_rows(
    const float *x, const unsigned int *chosen, const unsigned int *starts, const unsigned int *targets, int width,
    float *sums
) {
    const int column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= width) {
        return;
    }
    const unsigned int end = starts[blockIdx.x + 1];
    float sum = 0.0f;
    // Several rows are on their way at once, and still added one after another.
#pragma unroll 8
    for (unsigned int i = starts[blockIdx.x]; i < end; ++i) {
        sum += x[static_cast<unsigned long long>(chosen[i]) * width + column];
    }
    sums[static_cast<unsigned long long>(targets[blockIdx.x]) * width + column] = sum;
}
