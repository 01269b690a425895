// A kernel as a launch calls it: by the addresses of its arguments.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace emulation {

struct Kernel {
    void (*call)(void **arguments);
    std::size_t parameters;
};

template <auto kernel, typename... Parameters, std::size_t... index>
constexpr Kernel kernel_of(void (*)(Parameters...), std::index_sequence<index...>) {
    return {
        []([[maybe_unused]] void **arguments) {
            kernel(*static_cast<std::remove_cv_t<Parameters> *>(arguments[index])...);
        },
        sizeof...(Parameters),
    };
}

template <auto kernel, typename... Parameters>
constexpr Kernel kernel_of(void (*pointer)(Parameters...)) {
    return kernel_of<kernel>(pointer, std::index_sequence_for<Parameters...>());
}

}  // namespace emulation

// Defines `symbol`, by which Rust finds the kernel.
#define EMULATION_KERNEL(symbol, name) \
    extern "C" const emulation::Kernel symbol; \
    const emulation::Kernel symbol = emulation::kernel_of<&name>(&name);
