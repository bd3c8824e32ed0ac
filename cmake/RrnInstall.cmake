# cmake --install: the program, the libraries, the headers, the default models, and the package for find_package(rrn).
include(CMakePackageConfigHelpers)

get_property(rrn_install_targets GLOBAL PROPERTY RRN_INSTALL_TARGETS)
install(TARGETS ${rrn_install_targets} EXPORT rrnTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT rrnTargets NAMESPACE rrn:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/rrn)
install(DIRECTORY include/rrn DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/rrn/models)
configure_package_config_file(
  cmake/rrnConfig.cmake.in "${CMAKE_CURRENT_BINARY_DIR}/rrnConfig.cmake"
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/rrn
  PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_DATADIR)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/rrnConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/rrnConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/rrnConfigVersion.cmake"
              cmake/RrnImageCodecs.cmake cmake/RrnSqlite.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/rrn)

# The installed program loads lib/libonnxruntime.so.1; a copy makes the install tree complete.
file(REAL_PATH "${OnnxRuntime_LIBRARY}" rrn_onnxruntime)
install(FILES "${rrn_onnxruntime}" DESTINATION ${CMAKE_INSTALL_LIBDIR} RENAME libonnxruntime.so.1)

if(RRN_BUILD_TESTS AND NOT RRN_WITH_SANITIZER)
  # The examples of the documentation are an outside project: it finds the install tree, builds against it and runs.
  add_test(
    NAME install_and_find_package
    COMMAND
      ${CMAKE_COMMAND} -D BUILD_DIR=${CMAKE_BINARY_DIR} -D WORK_DIR=${CMAKE_BINARY_DIR}/install_test
      -D SOURCE_DIR=${PROJECT_SOURCE_DIR}/python/docs/examples -D GENERATOR=${CMAKE_GENERATOR}
      -P ${PROJECT_SOURCE_DIR}/cmake/InstallTest.cmake)
  set_tests_properties(install_and_find_package PROPERTIES TIMEOUT 600)
endif()
