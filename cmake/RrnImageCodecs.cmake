# rrn::image_codecs: libjpeg-turbo, libpng, libwebp, libtiff, giflib and, if there is one, libdeflate; linked statically
# where the system has their static libraries. The installed package includes this file too, so that users of
# rrn::image get the same libraries.

if(TARGET rrn::image_codecs)
  return()
endif()

find_package(PkgConfig REQUIRED)
pkg_check_modules(RRN_DEFLATE QUIET libdeflate)
if(RRN_DEFLATE_FOUND)
  set(rrn_deflate libdeflate)
else()
  message(STATUS "rrn: no libdeflate; PNG files are inflated by zlib, which is slower")
endif()
pkg_check_modules(RRN_CODECS QUIET libjpeg libpng libwebp libwebpdemux libtiff-4 ${rrn_deflate})
find_path(RRN_GIF_INCLUDE_DIR gif_lib.h)
if(NOT RRN_CODECS_FOUND OR NOT RRN_GIF_INCLUDE_DIR)
  message(
    FATAL_ERROR
      "rrn needs libjpeg, libpng, libwebp, libtiff and giflib with their headers. On Debian and Ubuntu: "
      "apt-get install pkg-config libjpeg-dev libpng-dev libwebp-dev libtiff-dev libgif-dev")
endif()

# pkg-config's --static list names everything a static link needs, in link order.
set(rrn_codecs_static)
set(rrn_codecs_dynamic)
foreach(name IN LISTS RRN_CODECS_STATIC_LIBRARIES ITEMS gif)
  # jbigkit is under the GPL; inference/src/image/tiff.cc stands in for it.
  if(name STREQUAL "jbig")
    continue()
  endif()
  if(name MATCHES "^(m|pthread)$")
    list(APPEND rrn_codecs_static ${name})
    continue()
  endif()
  find_library(RRN_CODEC_${name} NAMES lib${name}.a HINTS ${RRN_CODECS_LIBRARY_DIRS})
  mark_as_advanced(RRN_CODEC_${name})
  if(RRN_CODEC_${name})
    list(APPEND rrn_codecs_static ${RRN_CODEC_${name}})
  else()
    list(APPEND rrn_codecs_dynamic ${name})
  endif()
endforeach()
if(rrn_codecs_dynamic)
  message(STATUS "rrn: no static library for ${rrn_codecs_dynamic}; the image libraries stay dynamic")
  set(rrn_codecs_static ${RRN_CODECS_LIBRARIES} gif)
endif()

# Distributions compile their static libraries for programs, not as position-independent code, so a shared object (the
# Python module) must take the dynamic ones.
add_library(rrn::image_codecs INTERFACE IMPORTED)
set_target_properties(
  rrn::image_codecs
  PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${RRN_CODECS_INCLUDE_DIRS};${RRN_GIF_INCLUDE_DIR}"
    INTERFACE_COMPILE_DEFINITIONS "$<$<BOOL:${RRN_DEFLATE_FOUND}>:RRN_HAVE_LIBDEFLATE>"
    INTERFACE_LINK_LIBRARIES
    "$<IF:$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>,${rrn_codecs_static},${RRN_CODECS_LIBRARIES};gif>")
