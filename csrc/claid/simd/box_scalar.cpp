// Plain C++, for any processor.
#include <algorithm>

#include "claid/simd/box_kernels_impl.hpp"

namespace claid {
namespace {

struct Scalar {
    static constexpr std::size_t kWidth = 4;
    struct Vec {
        float value[kWidth];
    };

    template <class Operation>
    [[gnu::always_inline]] static Vec each(const Vec& a, const Vec& b, Operation operation) {
        Vec out;
        for (std::size_t i = 0; i < kWidth; ++i) out.value[i] = operation(a.value[i], b.value[i]);
        return out;
    }
    static Vec load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
    static void store(float* p, const Vec& v) { std::copy_n(v.value, kWidth, p); }
    static Vec broadcast(float x) { return {{x, x, x, x}}; }
    static Vec zero() { return {}; }
    static Vec add(const Vec& a, const Vec& b) {
        return each(a, b, [](float x, float y) { return x + y; });
    }
    static Vec sub(const Vec& a, const Vec& b) {
        return each(a, b, [](float x, float y) { return x - y; });
    }
    static Vec mul(const Vec& a, const Vec& b) {
        return each(a, b, [](float x, float y) { return x * y; });
    }
    static Vec div(const Vec& a, const Vec& b) {
        return each(a, b, [](float x, float y) { return x / y; });
    }
    static Vec min(const Vec& a, const Vec& b) {
        return each(a, b, [](float x, float y) { return x < y ? x : y; });
    }
    static Vec max(const Vec& a, const Vec& b) {
        return each(a, b, [](float x, float y) { return x > y ? x : y; });
    }
    static Vec sqrt(const Vec& a) {
        return each(a, a, [](float x, float) { return std::sqrt(x); });
    }
    static Vec multiply_add(const Vec& a, const Vec& b, const Vec& c) { return add(mul(a, b), c); }
    static float sum(const Vec& v) { return (v.value[0] + v.value[2]) + (v.value[1] + v.value[3]); }
    static float highest(const Vec& v) {
        return std::max({v.value[0], v.value[1], v.value[2], v.value[3]});
    }
};

constexpr BoxKernels kKernels = box_kernels_of<Scalar>();

}  // namespace

const BoxKernels* scalar_box_kernels() { return &kKernels; }

}  // namespace claid
