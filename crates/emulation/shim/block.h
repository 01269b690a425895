// A block of threads as fibers, in lock-step at barriers.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "cuda.h"
#include "fiber.h"
#include "kernel.h"

namespace emulation {

// What Rust asks for; src/launch.rs declares the same.
struct Launch {
    const Kernel *kernel;
    void **arguments;
    dim3 grid;
    dim3 block;
    unsigned int shared_bytes;
    bool descending;
};

// How a launch ended; src/launch.rs knows the same numbers.
enum class Outcome : int { Complete = 0, Deadlock = 1, Divergence = 2, Overrun = 3 };

enum class State { Ready, AtBlockBarrier, AtWarpOperation, Finished };

struct Thread {
    Context context;
    uint3 index;
    State state;
    // Where it waits and for what, unless it is ready or finished.
    Site site;
    Operation operation;
    unsigned int mask;
    unsigned int source;
    // What it gave to a warp operation and then, when that is complete, what it got.
    unsigned int value;
};

// Lanes, a bit each.
struct Warp {
    unsigned int unfinished;
    unsigned int waiting;
};

class Block {
  public:
    // Runs every block of the launch, one after another.
    Outcome run(const Launch &launch);

    // Of a failed launch: what happened, in which block.
    const std::string &message() const { return message_; }

    // What the running thread calls.
    void call_kernel();
    void wait_for_block(Site site);
    unsigned int wait_for_warp(Operation operation, unsigned int mask, unsigned int value, unsigned int source, Site site);
    unsigned int lane() const { return static_cast<unsigned int>(running_) % 32; }
    void *shared() { return shared_.data(); }

  private:
    void start_threads();
    void run_threads();
    bool step_warp(std::size_t warp);
    // Who is next, of `count` warps, lanes or blocks.
    std::size_t in_order(std::size_t turn, std::size_t count) const;
    void leave();
    void finish_thread();
    void check_stack();

    // A barrier is complete when all wait there that have not returned; these three ask whether it is, and go on.
    void complete_block_barrier();
    void complete_warp_operation(std::size_t warp, unsigned int mask);
    bool exchange_values(Thread *lanes, unsigned int group);

    void fail(Outcome outcome, const std::string &what);
    // Who waits where, for messages.
    std::string waiting_threads() const;
    char *stack(std::size_t thread);

    const Launch *launch_ = nullptr;
    std::vector<Thread> threads_;
    std::vector<Warp> warps_;
    // Not a vector, which would touch all of it.
    std::unique_ptr<char[]> stacks_;
    std::size_t stack_count_ = 0;
    std::vector<char> shared_;
    Context scheduler_;
    std::size_t running_ = 0;
    std::size_t at_barrier_ = 0;
    std::size_t finished_ = 0;
    Outcome outcome_ = Outcome::Complete;
    std::string message_;
};

}  // namespace emulation
