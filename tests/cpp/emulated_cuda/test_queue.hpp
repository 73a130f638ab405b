// The tree kernel's queue, where two blocks come at it in one certain order.
#pragma once

namespace claid::test {

void test_numbers_never_published();

}  // namespace claid::test
