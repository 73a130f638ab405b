#include "cuda/timing.hpp"

#include "cuda/check.hpp"

namespace claid::cuda {

Stopwatch::Stopwatch(Timing* timing, cudaStream_t stream) : timing_(timing), stream_(stream) {
    if (timing_ != nullptr) *timing_ = {};
}

Stopwatch::~Stopwatch() {
    for (const Mark& mark : marks_) cudaEventDestroy(mark.event);
}

void Stopwatch::mark(double Timing::* step) {
    if (timing_ == nullptr) return;
    cudaEvent_t event = nullptr;
    check(cudaEventCreate(&event), "making an event");
    marks_.push_back({event, step});
    check(cudaEventRecord(event, stream_), "recording an event");
}

void Stopwatch::read() const {
    for (std::size_t i = 1; i < marks_.size(); ++i) {
        float milliseconds = 0;
        check(cudaEventElapsedTime(&milliseconds, marks_[i - 1].event, marks_[i].event),
              "asking for the time between two events");
        timing_->*marks_[i].step += static_cast<double>(milliseconds);
    }
}

}  // namespace claid::cuda
