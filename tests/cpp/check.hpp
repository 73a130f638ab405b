// Counts and prints what fails; the test's exit status says whether anything did.
#pragma once

#include <cstdio>

namespace claid::test {

inline int failures = 0;
inline int checks = 0;

inline void check(bool passed, const char* what, const char* file, int line) {
    ++checks;
    if (passed) return;
    ++failures;
    std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
}

inline int summary() {
    std::printf("%d checks, %d failures\n", checks, failures);
    return checks > 0 && failures == 0 ? 0 : 1;
}

}  // namespace claid::test

#define CHECK(condition) claid::test::check((condition), #condition, __FILE__, __LINE__)
