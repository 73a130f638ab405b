// Features for the tests: made from a seed, some of them with ties everywhere.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "claid/types.hpp"

namespace claid::test {

enum class Kind { blobs, noise, ties, constant, zeros };

struct Picture {
    Grid grid;
    std::size_t dims;
    std::vector<float> values;  // [N, D]

    [[nodiscard]] Features features() const { return {values.data(), dims, grid}; }
};

inline Picture picture(Kind kind, Grid grid, std::size_t dims, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    Picture out{grid, dims, std::vector<float>(grid.patches() * dims)};
    constexpr std::size_t kObjects = 6;
    std::vector<float> objects(kObjects * dims);
    for (float& x : objects) x = normal(random);
    for (std::size_t p = 0; p < grid.patches(); ++p) {
        const auto width = static_cast<std::size_t>(grid.width);
        const std::size_t object = (p / width / 5 * 3 + p % width / 7 + seed) % kObjects;
        for (std::size_t k = 0; k < dims; ++k) {
            float& x = out.values[p * dims + k];
            switch (kind) {
                case Kind::blobs:
                    x = objects[object * dims + k] + 0.7F * normal(random);
                    break;
                case Kind::noise:
                    x = normal(random);
                    break;
                case Kind::ties:
                    x = static_cast<float>(random() % 3) - 1.0F;
                    break;
                case Kind::constant:
                    x = 1.5F;
                    break;
                case Kind::zeros:
                    x = p % 3 == 0 ? 0.0F : normal(random) + 0.5F;
                    break;
            }
        }
    }
    return out;
}

}  // namespace claid::test
