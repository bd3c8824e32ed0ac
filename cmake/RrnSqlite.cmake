# rrn::sqlite: SQLite 3.24 or newer; linked statically into programs where the system has its static library, as the image
# libraries are (RrnImageCodecs.cmake). The installed package includes this file too.

if(TARGET rrn::sqlite)
  return()
endif()

find_package(PkgConfig REQUIRED)
pkg_check_modules(RRN_SQLITE QUIET sqlite3>=3.24)
if(NOT RRN_SQLITE_FOUND)
  message(FATAL_ERROR "rrn needs SQLite 3.24 or newer with its header. On Debian and Ubuntu: apt-get install libsqlite3-dev")
endif()

# pkg-config's --static list also names what SQLite itself needs (m, pthread, dl, z).
set(rrn_sqlite_static)
foreach(name IN LISTS RRN_SQLITE_STATIC_LIBRARIES)
  find_library(RRN_SQLITE_${name} NAMES lib${name}.a HINTS ${RRN_SQLITE_LIBRARY_DIRS})
  mark_as_advanced(RRN_SQLITE_${name})
  if(RRN_SQLITE_${name} AND NOT name MATCHES "^(m|pthread|dl)$")
    list(APPEND rrn_sqlite_static "${RRN_SQLITE_${name}}")
  else()
    list(APPEND rrn_sqlite_static ${name})
  endif()
endforeach()

# A shared object (the Python module) takes the dynamic library, for the reason that RrnImageCodecs.cmake names.
add_library(rrn::sqlite INTERFACE IMPORTED)
set_target_properties(
  rrn::sqlite
  PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${RRN_SQLITE_INCLUDE_DIRS}"
             INTERFACE_LINK_LIBRARIES
             "$<IF:$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>,${rrn_sqlite_static},${RRN_SQLITE_LIBRARIES}>")
