// How long the steps of a batch take on the device, by events between them.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "cuda/decompose.hpp"

namespace claid::cuda {

class Stopwatch {
  public:
    // Does nothing without a timing.
    Stopwatch(Timing* timing, cudaStream_t stream);
    ~Stopwatch();
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;

    // What was put on the stream since the last mark is part of this step.
    void mark(double Timing::* step);
    // When the stream has been waited for: adds up the steps.
    void read() const;

  private:
    struct Mark {
        cudaEvent_t event;
        double Timing::* step;
    };
    Timing* timing_;
    cudaStream_t stream_;
    std::vector<Mark> marks_;
};

}  // namespace claid::cuda
