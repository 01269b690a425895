#if !defined(_XOPEN_SOURCE)
// macOS declares ucontext for X/Open programs only.
#define _XOPEN_SOURCE 700
#endif

#include "fiber.h"

namespace emulation {

#ifdef EMULATION_OWN_SWITCH

// swapcontext asks the system to keep the signal mask, at each switch. Nothing here changes it: what a call preserves in
// the System V convention and the stack pointer are all there is to keep.
asm(R"(
.pushsection .text
.globl polytask_emulation_switch
.type polytask_emulation_switch, @function
polytask_emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size polytask_emulation_switch, . - polytask_emulation_switch
.popsection
)");

extern "C" void polytask_emulation_switch(void **from, void *to);

void prepare(Context &context, char *stack, std::size_t bytes, void (*entry)()) {
    void **top = reinterpret_cast<void **>(stack + bytes);
    // A function finds its stack 8 bytes below a multiple of 16, where a call has left the address to return to.
    *--top = nullptr;
    *--top = reinterpret_cast<void *>(entry);
    for (int preserved = 0; preserved < 6; ++preserved) {
        *--top = nullptr;
    }
    context.stack_pointer = top;
}

void switch_context(Context &from, Context &to) {
    polytask_emulation_switch(&from.stack_pointer, to.stack_pointer);
}

#else

void prepare(Context &context, char *stack, std::size_t bytes, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = bytes;
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
}

void switch_context(Context &from, Context &to) {
    swapcontext(&from, &to);
}

#endif

}  // namespace emulation
