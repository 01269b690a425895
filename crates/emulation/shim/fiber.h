// Fibers: a function on a stack of its own, that runs until it hands the processor on.
#pragma once

#include <cstddef>

#if defined(__x86_64__) && defined(__linux__)
#define EMULATION_OWN_SWITCH 1
#else
#include <ucontext.h>
#endif

namespace emulation {

// Where a fiber stands while another one runs.
#ifdef EMULATION_OWN_SWITCH
struct Context {
    void *stack_pointer;
};
#else
using Context = ucontext_t;
#endif

// Makes the next switch to `context` call `entry`, which must never return, on this stack (16-byte aligned).
void prepare(Context &context, char *stack, std::size_t bytes, void (*entry)());

// Goes on at `to`; returns when something switches back to `from`.
void switch_context(Context &from, Context &to);

}  // namespace emulation
