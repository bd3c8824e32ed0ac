# How our own code is compiled: one INTERFACE target for flags, one function for tests.

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release)
endif()

set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)

# ccache, where it is installed, serves all build folders and the wheel. It caches users of precompiled headers only with
# this sloppiness. Paths count from the source folder, so another clone of the same sources is served too (debug
# information may then name the first one). CMAKE_CXX_COMPILER_LAUNCHER, as a variable of CMake or of the environment, takes its place.
find_program(RRN_CCACHE ccache)
mark_as_advanced(RRN_CCACHE)
if(RRN_CCACHE)
  foreach(language CXX CUDA)
    if(NOT DEFINED CMAKE_${language}_COMPILER_LAUNCHER)
      set(CMAKE_${language}_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros
          "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1 "${RRN_CCACHE}")
    endif()
  endforeach()
endif()

add_library(rrn_compile INTERFACE)
# -ffp-contract=off: a multiply followed by an add rounds twice on every machine, so results do not depend on whether
# the compiler found a fused instruction.
target_compile_options(
  rrn_compile
  INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wall
            -Wextra
            -Wpedantic
            -Wshadow
            -Wconversion
            -Wold-style-cast
            -Wnon-virtual-dtor
            -ffp-contract=off
            -fvisibility=hidden
            -fvisibility-inlines-hidden>)
if(RRN_WITH_WERROR)
  target_compile_options(rrn_compile INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()

if(RRN_WITH_SANITIZER STREQUAL "address")
  set(sanitizer_flags -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
elseif(RRN_WITH_SANITIZER STREQUAL "thread")
  set(sanitizer_flags -fsanitize=thread -fno-omit-frame-pointer)
elseif(RRN_WITH_SANITIZER)
  message(FATAL_ERROR "RRN_WITH_SANITIZER is '${RRN_WITH_SANITIZER}'; expected empty, address or thread.")
endif()
target_compile_options(rrn_compile INTERFACE ${sanitizer_flags})
target_link_options(rrn_compile INTERFACE ${sanitizer_flags})

set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# rrn_static_library(NAME sources...): librrn_NAME.a, also known as rrn::NAME, with include/ public. It is built in
# build/lib and installed with the package.
function(rrn_static_library name)
  add_library(rrn_${name} STATIC ${ARGN})
  add_library(rrn::${name} ALIAS rrn_${name})
  set_target_properties(rrn_${name} PROPERTIES EXPORT_NAME ${name} ARCHIVE_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/lib")
  target_include_directories(
    rrn_${name}
    PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${PROJECT_SOURCE_DIR}/inference/src)
  target_compile_features(rrn_${name} PUBLIC cxx_std_17)
  target_link_libraries(rrn_${name} PRIVATE $<BUILD_INTERFACE:rrn_compile>)
  set_property(GLOBAL APPEND PROPERTY RRN_INSTALL_TARGETS rrn_${name})
endfunction()

# rrn_test(NAME SOURCE libraries...): a GoogleTest executable. A case is a ctest, but all cases of all tables
# (INSTANTIATE_TEST_SUITE_P) are one, NAME_tables: there are thousands, and starting a process with PyTorch's or ONNX
# Runtime's libraries takes a hundred times as long as a case.
function(rrn_test name source)
  if(NOT RRN_BUILD_TESTS)
    return()
  endif()
  add_executable(${name} ${source})
  set_target_properties(${name} PROPERTIES BUILD_RPATH "${RRN_LIB_DIR}")
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/inference/src ${PROJECT_SOURCE_DIR}/inference)
  target_link_libraries(${name} PRIVATE rrn_compile ${ARGN} GTest::gmock GTest::gtest_main)
  gtest_discover_tests(${name} TEST_FILTER "-*/*" DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 600)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source})
  file(STRINGS ${source} tables REGEX "INSTANTIATE_(TYPED_)?TEST_SUITE_P|^TYPED_TEST_SUITE\\(")
  if(tables)
    add_test(NAME ${name}_tables COMMAND ${name} --gtest_filter=*/* --gtest_brief=1)
    set_tests_properties(${name}_tables PROPERTIES TIMEOUT 600 FAIL_REGULAR_EXPRESSION "0 tests from 0 test suites ran")
  endif()
endfunction()

# rrn_use_default_model(TEST): RRN_MODEL and RRN_OP_LIBRARY name the default model and the operator's library.
function(rrn_use_default_model name)
  if(RRN_BUILD_TESTS)
    target_compile_definitions(${name} PRIVATE RRN_MODEL="${PROJECT_SOURCE_DIR}/models/reduction_resnet18.onnx"
                                               RRN_OP_LIBRARY="$<TARGET_FILE:reduction_op>")
    add_dependencies(${name} reduction_op)
  endif()
endfunction()
