# The CUDA backend, and its tests: on an emulated device, which needs no CUDA, and on a GPU.

set(CLAID_HAS_CUDA OFF)
if(CLAID_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(CLAID_HAS_CUDA ON)
  elseif(NOT CLAID_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "CLAID_CUDA=ON, but no CUDA compiler was found (set CMAKE_CUDA_COMPILER)")
  endif()
endif()

if(CLAID_HAS_CUDA)
  # Machine code for each generation, and PTX for what lies between and after them.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90-real 100 120)
  endif()
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.0)
    set(too_old "the CUDA backend is C++20 and needs CUDA 12.0, not ${CMAKE_CUDA_COMPILER_VERSION}")
    if(NOT CLAID_CUDA STREQUAL "AUTO")
      message(FATAL_ERROR "CLAID_CUDA=ON, but ${too_old}")
    endif()
    message(STATUS "Building without CUDA: ${too_old}")
    set(CLAID_HAS_CUDA OFF)
  endif()
endif()

if(CLAID_HAS_CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc has it
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  endif()
  find_package(CUDAToolkit REQUIRED)
  add_library(claid_cuda STATIC
    csrc/cuda/affinity.cu
    csrc/cuda/decompose.cpp
    csrc/cuda/memory.cpp
    csrc/cuda/numbering.cpp
    csrc/cuda/plan.cpp
    csrc/cuda/q15.cu
    csrc/cuda/timing.cpp
    csrc/cuda/tree.cu)
  set_target_properties(claid_cuda PROPERTIES CUDA_VISIBILITY_PRESET hidden)
  # The contract's float64 steps: nothing fused.
  target_compile_options(claid_cuda PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -fmad=false -Xcompiler=-Wall,-Wextra>)
  if(CLAID_WARNINGS_AS_ERRORS)
    target_compile_options(claid_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
  endif()
  target_compile_definitions(claid_cuda PUBLIC CLAID_CUDA)
  target_compile_options(claid_cuda PRIVATE
    $<$<COMPILE_LANGUAGE:CXX>:$<TARGET_PROPERTY:claid_flags,INTERFACE_COMPILE_OPTIONS>>)
  target_link_libraries(claid_cuda PUBLIC claid PRIVATE CUDA::cudart_static)
endif()

if(CLAID_CPP_TESTS)
  enable_testing()
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_subdirectory(tests/cpp/emulated_cuda)
  endif()
  if(CLAID_HAS_CUDA)
    add_executable(claid_cuda_device_test tests/cpp/test_cuda_device.cpp)
    target_link_libraries(claid_cuda_device_test PRIVATE claid_cuda claid_flags)
    add_test(NAME cuda_on_device COMMAND claid_cuda_device_test)
    set_tests_properties(cuda_on_device PROPERTIES SKIP_RETURN_CODE 77)
  endif()
endif()
