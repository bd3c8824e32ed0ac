# Finds ONNX Runtime (API 1.20 or newer) and defines
#   OnnxRuntime::headers       the headers only
#   OnnxRuntime::OnnxRuntime   headers and library
#   OnnxRuntime_LIBRARY        the shared library that programs will load
#   OnnxRuntime_OPENVINO       the OpenVINO plugin's library, empty if it is not there
#
# Looked for, in this order:
#   headers   ONNXRUNTIME_ROOT (an unpacked official release), the system, .deps/onnxruntime (scripts/build.sh puts the
#             headers of a distribution's package there)
#   library   ONNXRUNTIME_ROOT, the system, the onnxruntime wheel of Python_EXECUTABLE (the wheel has no headers)
#   plugin    the environment variable RRN_OPENVINO_EP, the onnxruntime_ep_openvino package of Python_EXECUTABLE
#
# Programs are linked to a stub with the library's SONAME instead of the library: the wheel's only symbol carries a
# version (OrtGetApiBase@@VERS_x), and a binary linked to it would refuse every other release.

set(ONNXRUNTIME_ROOT "$ENV{ONNXRUNTIME_ROOT}" CACHE PATH "An unpacked official ONNX Runtime release")

find_path(
  OnnxRuntime_INCLUDE_DIR onnxruntime_cxx_api.h
  HINTS "${ONNXRUNTIME_ROOT}/include" "${CMAKE_CURRENT_LIST_DIR}/../.deps/onnxruntime/include"
  PATH_SUFFIXES onnxruntime onnxruntime/core/session)

# `pip install .` gets them as scripts/build.sh does.
if(SKBUILD AND NOT OnnxRuntime_INCLUDE_DIR)
  message(STATUS "rrn: no headers of ONNX Runtime; running scripts/onnxruntime_headers.sh")
  execute_process(COMMAND "${CMAKE_CURRENT_LIST_DIR}/../scripts/onnxruntime_headers.sh" RESULT_VARIABLE failed
                  OUTPUT_QUIET ERROR_VARIABLE reason)
  find_path(OnnxRuntime_INCLUDE_DIR onnxruntime_cxx_api.h
            HINTS "${CMAKE_CURRENT_LIST_DIR}/../.deps/onnxruntime/include")
  if(NOT OnnxRuntime_INCLUDE_DIR)
    string(STRIP "${reason}" reason)
    string(REGEX REPLACE "^.*\n" "" reason "${reason}")
    message(FATAL_ERROR "The headers of ONNX Runtime (1.20 or newer; ONNXRUNTIME_ROOT names the folder of an unpacked "
                        "official release) are missing, and cannot be fetched: ${reason}")
  endif()
endif()

if(OnnxRuntime_LIBRARY AND NOT EXISTS "${OnnxRuntime_LIBRARY}")
  unset(OnnxRuntime_LIBRARY CACHE) # the environment that had it is gone
endif()
find_library(OnnxRuntime_LIBRARY NAMES onnxruntime libonnxruntime.so.1 HINTS "${ONNXRUNTIME_ROOT}/lib")
if(NOT Python_EXECUTABLE)
  find_program(Python_EXECUTABLE python3)
endif()
# rrn_python_package(NAME VARIABLE): the folder of an installed package, without importing it; empty where it is not installed.
function(rrn_python_package name variable)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -c
            "import importlib.util as u; s = u.find_spec('${name}'); print(s.submodule_search_locations[0])"
    OUTPUT_VARIABLE folder
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET
    RESULT_VARIABLE failed)
  if(failed)
    set(folder "")
  endif()
  set(${variable} "${folder}" PARENT_SCOPE)
endfunction()

if(NOT OnnxRuntime_LIBRARY)
  rrn_python_package(onnxruntime wheel)
  if(wheel)
    file(GLOB wheel_libraries "${wheel}/capi/libonnxruntime.so*")
    if(wheel_libraries)
      list(GET wheel_libraries 0 wheel_library)
      set(OnnxRuntime_LIBRARY "${wheel_library}" CACHE FILEPATH "ONNX Runtime's shared library" FORCE)
    endif()
  endif()
endif()

# Asked again at every configuring: packages come and go.
set(OnnxRuntime_OPENVINO "$ENV{RRN_OPENVINO_EP}")
if(NOT OnnxRuntime_OPENVINO)
  rrn_python_package(onnxruntime_ep_openvino plugin)
  set(OnnxRuntime_OPENVINO "${plugin}/libonnxruntime_providers_openvino_plugin.so")
endif()
if(NOT EXISTS "${OnnxRuntime_OPENVINO}")
  set(OnnxRuntime_OPENVINO "")
endif()

# The Python module is linked to a stub and finds the library where it runs, so a wheel can be built without.
if(SKBUILD)
  set(rrn_onnxruntime_needs OnnxRuntime_INCLUDE_DIR)
else()
  set(rrn_onnxruntime_needs OnnxRuntime_LIBRARY OnnxRuntime_INCLUDE_DIR)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  OnnxRuntime
  REQUIRED_VARS ${rrn_onnxruntime_needs}
  REASON_FAILURE_MESSAGE
    "Run scripts/build.sh, which sets everything up, or set ONNXRUNTIME_ROOT to an unpacked official release.")
mark_as_advanced(OnnxRuntime_LIBRARY OnnxRuntime_INCLUDE_DIR)

if(OnnxRuntime_FOUND AND NOT TARGET OnnxRuntime::OnnxRuntime)
  set(rrn_stub_dir "${CMAKE_BINARY_DIR}/onnxruntime_stub")
  if(NOT EXISTS "${rrn_stub_dir}/libonnxruntime.so")
    file(WRITE "${rrn_stub_dir}/stub.cc" "extern \"C\" void OrtGetApiBase() {}\n")
    execute_process(COMMAND "${CMAKE_CXX_COMPILER}" -shared -fPIC -nostdlib -Wl,-soname,libonnxruntime.so.1 -o
                            "${rrn_stub_dir}/libonnxruntime.so" "${rrn_stub_dir}/stub.cc" COMMAND_ERROR_IS_FATAL ANY)
  endif()
  add_library(OnnxRuntime::headers INTERFACE IMPORTED)
  set_target_properties(OnnxRuntime::headers PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${OnnxRuntime_INCLUDE_DIR}"
                                                        INTERFACE_COMPILE_DEFINITIONS ORT_API_MANUAL_INIT)
  add_library(OnnxRuntime::OnnxRuntime INTERFACE IMPORTED)
  # As flags, not as a file: CMake would add the stub's folder to the RUNPATH, and programs would load the stub.
  set_target_properties(
    OnnxRuntime::OnnxRuntime PROPERTIES INTERFACE_LINK_OPTIONS "-L${rrn_stub_dir}"
                                        INTERFACE_LINK_LIBRARIES "OnnxRuntime::headers;-lonnxruntime")
endif()
