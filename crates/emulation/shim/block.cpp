// Runs the blocks of a launch and switches between their threads.

#include "block.h"

#include <algorithm>

namespace emulation {

namespace {

constexpr std::size_t STACK_BYTES = 64 * 1024;
// Stacks a power of two apart would share few sets of the cache.
constexpr std::size_t STACK_DISTANCE = STACK_BYTES + 192;
// What lies behind the dynamic shared memory and, the last of it to be used, in each stack.
constexpr std::size_t GUARD_BYTES = 64;
constexpr char GUARD = 0x5a;
// Shared memory that nobody wrote reads as NaN.
constexpr char UNWRITTEN = -1;

std::size_t volume(dim3 size) {
    return std::size_t{size.x} * size.y * size.z;
}

uint3 place(std::size_t index, dim3 size) {
    const std::size_t row = index / size.x;
    return {
        static_cast<unsigned int>(index % size.x),
        static_cast<unsigned int>(row % size.y),
        static_cast<unsigned int>(row / size.y),
    };
}

bool is_intact(const char *guard) {
    return std::all_of(guard, guard + GUARD_BYTES, [](char byte) { return byte == GUARD; });
}

// The block of this thread of the operating system.
thread_local Block block;
// The same while it runs, without the check whether it was made already.
__thread Block *running_block;

void enter_thread() {
    running_block->call_kernel();
}

}  // namespace

Outcome Block::run(const Launch &launch) {
    launch_ = &launch;
    outcome_ = Outcome::Complete;
    gridDim = launch.grid;
    blockDim = launch.block;
    const std::size_t threads = volume(launch.block);
    threads_.resize(threads);
    warps_.resize((threads + 31) / 32);
    if (stack_count_ < threads) {
        // One more, for the first thread to overrun into.
        stacks_.reset(new char[(threads + 1) * STACK_DISTANCE]);
        stack_count_ = threads;
    }
    const std::size_t blocks = volume(launch.grid);
    for (std::size_t turn = 0; turn < blocks && outcome_ == Outcome::Complete; ++turn) {
        blockIdx = place(in_order(turn, blocks), launch.grid);
        start_threads();
        run_threads();
    }
    return outcome_;
}

void Block::start_threads() {
    shared_.assign(launch_->shared_bytes + GUARD_BYTES, UNWRITTEN);
    std::fill_n(shared_.end() - GUARD_BYTES, GUARD_BYTES, GUARD);
    at_barrier_ = 0;
    finished_ = 0;
    std::fill(warps_.begin(), warps_.end(), Warp{0, 0});
    for (std::size_t i = 0; i < threads_.size(); ++i) {
        threads_[i].index = place(i, launch_->block);
        threads_[i].state = State::Ready;
        warps_[i / 32].unfinished |= 1u << i % 32;
        std::fill_n(stack(i), GUARD_BYTES, GUARD);
        prepare(threads_[i].context, stack(i), STACK_BYTES, enter_thread);
    }
}

// Each warp runs as far as it can before the next one does, so that a block barrier that is missing shows.
void Block::run_threads() {
    for (bool has_moved = true; has_moved;) {
        has_moved = false;
        for (std::size_t turn = 0; turn < warps_.size(); ++turn) {
            while (step_warp(in_order(turn, warps_.size()))) {
                has_moved = true;
            }
        }
    }
    if (outcome_ != Outcome::Complete) {
        return;
    }
    if (finished_ < threads_.size()) {
        fail(Outcome::Deadlock, waiting_threads());
    } else if (!is_intact(shared_.data() + launch_->shared_bytes)) {
        fail(Outcome::Overrun, "behind the " + std::to_string(launch_->shared_bytes)
            + " bytes of dynamic shared memory; launch with more, or check the index");
    }
}

// Runs each lane that is ready up to where it must wait; whether any was.
bool Block::step_warp(std::size_t warp) {
    bool has_moved = false;
    const std::size_t lanes = std::min<std::size_t>(32, threads_.size() - warp * 32);
    for (std::size_t turn = 0; turn < lanes && outcome_ == Outcome::Complete; ++turn) {
        running_ = warp * 32 + in_order(turn, lanes);
        Thread &thread = threads_[running_];
        if (thread.state == State::Ready) {
            has_moved = true;
            threadIdx = thread.index;
            switch_context(scheduler_, thread.context);
            check_stack();
        }
    }
    return has_moved && outcome_ == Outcome::Complete;
}

// After each step of a thread: its neighbour, whose stack it may have overwritten, must not go on.
void Block::check_stack() {
    if (!is_intact(stack(running_))) {
        fail(Outcome::Overrun, "thread " + std::to_string(running_) + " beyond its " + std::to_string(STACK_BYTES)
            + " bytes of stack; make its local arrays smaller");
    }
}

std::size_t Block::in_order(std::size_t turn, std::size_t count) const {
    return launch_->descending ? count - 1 - turn : turn;
}

char *Block::stack(std::size_t thread) {
    return stacks_.get() + (thread + 1) * STACK_DISTANCE;
}

void Block::leave() {
    switch_context(threads_[running_].context, scheduler_);
}

void Block::call_kernel() {
    launch_->kernel->call(launch_->arguments);
    finish_thread();
    leave();
}

void *dynamic_shared() {
    return running_block->shared();
}

unsigned int lane() {
    return running_block->lane();
}

void synchronize_block(Site site) {
    running_block->wait_for_block(site);
}

unsigned int synchronize_warp(Operation operation, unsigned int mask, unsigned int value, unsigned int source, Site site) {
    return running_block->wait_for_warp(operation, mask, value, source, site);
}

}  // namespace emulation

__thread uint3 threadIdx;
__thread uint3 blockIdx;
__thread dim3 blockDim;
__thread dim3 gridDim;

// What src/launch.rs calls. The message stays until the next launch of this thread.
extern "C" int polytask_emulation_launch(const emulation::Launch *launch, const char **message) {
    emulation::running_block = &emulation::block;
    const emulation::Outcome outcome = emulation::block.run(*launch);
    *message = emulation::block.message().c_str();
    return static_cast<int>(outcome);
}
