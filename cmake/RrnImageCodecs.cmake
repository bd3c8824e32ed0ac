# rrn::image_codecs: libjpeg-turbo, libpng, libwebp, libtiff and giflib, linked statically where the system has their
# static libraries. The installed package includes this file too, so that users of rrn::image get the same libraries.

if(TARGET rrn::image_codecs)
  return()
endif()

find_package(PkgConfig REQUIRED)
pkg_check_modules(RRN_CODECS libjpeg libpng libwebp libwebpdemux libtiff-4)
find_path(RRN_GIF_INCLUDE_DIR gif_lib.h)
if(NOT RRN_CODECS_FOUND OR NOT RRN_GIF_INCLUDE_DIR)
  message(
    FATAL_ERROR
      "rrn needs libjpeg, libpng, libwebp, libtiff and giflib with their headers. On Debian and Ubuntu: "
      "apt-get install pkg-config libjpeg-dev libpng-dev libwebp-dev libtiff-dev libgif-dev")
endif()

# pkg-config's --static list (RRN_CODECS_STATIC_LIBRARIES) names everything a static link needs, in link order.
add_library(rrn::image_codecs INTERFACE IMPORTED)
set(rrn_codec_libraries)
set(rrn_codecs_dynamic)
foreach(name IN LISTS RRN_CODECS_STATIC_LIBRARIES ITEMS gif)
  if(name MATCHES "^(m|pthread)$")
    list(APPEND rrn_codec_libraries ${name})
    continue()
  endif()
  find_library(RRN_CODEC_${name} NAMES lib${name}.a ${name} HINTS ${RRN_CODECS_LIBRARY_DIRS})
  if(RRN_CODEC_${name})
    list(APPEND rrn_codec_libraries ${RRN_CODEC_${name}})
    if(NOT RRN_CODEC_${name} MATCHES "\\.a$")
      list(APPEND rrn_codecs_dynamic ${name})
    endif()
  elseif(NOT name MATCHES "^(sharpyuv|Lerc|jbig|deflate)$")
    list(APPEND rrn_codec_libraries ${name})
    list(APPEND rrn_codecs_dynamic ${name})
  endif()
endforeach()
if(rrn_codecs_dynamic)
  message(STATUS "rrn: no static library for ${rrn_codecs_dynamic}; these stay dynamic")
endif()
set_target_properties(
  rrn::image_codecs PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${RRN_CODECS_INCLUDE_DIRS};${RRN_GIF_INCLUDE_DIR}"
                               INTERFACE_LINK_LIBRARIES "${rrn_codec_libraries}")
