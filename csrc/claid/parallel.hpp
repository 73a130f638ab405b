// Threads that live as long as one call: nothing is left behind that a fork could lose, and
// several callers never wait for each other.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace claid {

// The processors that this process may use.
std::size_t available_threads();

// Calls body(i) once for each i < count, on up to `threads` threads, the caller's among them.
// When all have stopped, the exception of the lowest i that threw is thrown again: as every i
// below a failed one has been begun, it does not depend on the threads.
template <class Body>
void parallel_for(std::size_t count, std::size_t threads, const Body& body) {
    if (threads <= 1 || count <= 1) {
        for (std::size_t i = 0; i < count; ++i) body(i);
        return;
    }
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    std::size_t failed = count;  // the i of it
    std::mutex failure_mutex;
    const auto work = [&] {
        std::size_t i = next++;
        try {
            for (; i < count; i = next++) body(i);
        } catch (...) {
            const std::scoped_lock lock(failure_mutex);
            if (i < failed) {
                failure = std::current_exception();
                failed = i;
            }
            next = count;
        }
    };
    std::vector<std::thread> team;  // Apple's library has no jthread
    team.reserve(std::min(threads, count));
    try {
        for (std::size_t t = 1; t < threads && t < count; ++t) team.emplace_back(work);
    } catch (const std::system_error&) {
        // The system grants no more threads: those that run share the work.
    }
    work();
    for (std::thread& member : team) member.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace claid
