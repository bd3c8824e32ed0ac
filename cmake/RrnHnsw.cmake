# Sets RRN_HNSW_INCLUDE_DIR to the folder of hnswlib's headers where RRN_WITH_HNSW asks for them. Nothing is linked.

if(RRN_WITH_HNSW STREQUAL "OFF")
  unset(RRN_HNSW_INCLUDE_DIR CACHE)
  return()
endif()
find_path(RRN_HNSW_INCLUDE_DIR hnswlib/hnswlib.h)
mark_as_advanced(RRN_HNSW_INCLUDE_DIR)
if(NOT RRN_HNSW_INCLUDE_DIR)
  if(RRN_WITH_HNSW STREQUAL "ON")
    message(FATAL_ERROR "RRN_WITH_HNSW is ON, but hnswlib is not there. On Debian and Ubuntu: apt-get install libhnswlib-dev")
  endif()
  message(STATUS "rrn: no hnswlib, so there is no approximate search (on Debian and Ubuntu: libhnswlib-dev)")
endif()
