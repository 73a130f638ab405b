#include "claid/parallel.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

namespace claid {

std::size_t available_threads() {
#if defined(__linux__)
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        return static_cast<std::size_t>(CPU_COUNT(&allowed));
    }
#endif
    const unsigned count = std::thread::hardware_concurrency();
    return count > 0 ? count : 1;
}

}  // namespace claid
