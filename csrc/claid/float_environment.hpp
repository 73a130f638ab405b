// Rounding to nearest and denormals kept, whatever the caller has set (a program may run with
// denormals flushed to zero): the contract's float64 steps need both.
#pragma once

#include <cfenv>

namespace claid {

class DefaultFloatEnvironment {
  public:
    DefaultFloatEnvironment() {
        std::fegetenv(&saved_);
        std::fesetenv(FE_DFL_ENV);
    }
    ~DefaultFloatEnvironment() { std::fesetenv(&saved_); }
    DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
    DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

  private:
    std::fenv_t saved_;
};

}  // namespace claid
