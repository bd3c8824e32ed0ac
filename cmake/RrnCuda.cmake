# Switches the CUDA language on where RRN_WITH_CUDA asks for it; sets RRN_HAVE_CUDA.

set(RRN_HAVE_CUDA OFF)
if(RRN_WITH_CUDA STREQUAL "OFF")
  return()
endif()

include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(RRN_WITH_CUDA STREQUAL "ON")
    message(FATAL_ERROR "RRN_WITH_CUDA is ON, but there is no nvcc. Install the CUDA toolkit or set CUDACXX.")
  endif()
  message(STATUS "rrn: no nvcc, so libreduction_op.so gets no CUDA kernel (set CUDACXX to change that)")
  return()
endif()

# Both must stand before enable_language(CUDA). The static runtime lets the library load where no driver is.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90-real 100-real 120)
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)
set(RRN_HAVE_CUDA ON)
message(STATUS "rrn: CUDA kernel for architectures ${CMAKE_CUDA_ARCHITECTURES}")
