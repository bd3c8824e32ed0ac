# Installs BUILD_DIR to a fresh prefix, builds SOURCE_DIR against it and runs the programs, moved prefix included.
file(REMOVE_RECURSE "${WORK_DIR}")
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

run(${CMAKE_COMMAND} --install "${BUILD_DIR}" --prefix "${WORK_DIR}/first")
# A package that works only where it was first installed would fail from here on.
file(RENAME "${WORK_DIR}/first" "${WORK_DIR}/prefix")
run(${CMAKE_COMMAND} -S "${SOURCE_DIR}" -B "${WORK_DIR}/build" -G "${GENERATOR}" -D CMAKE_PREFIX_PATH=${WORK_DIR}/prefix
    -D CMAKE_BUILD_TYPE=Release)
run(${CMAKE_COMMAND} --build "${WORK_DIR}/build")
run("${WORK_DIR}/build/use_kernels")
run("${WORK_DIR}/build/use_engine")
run("${WORK_DIR}/prefix/bin/similarity" --version)
file(REMOVE_RECURSE "${WORK_DIR}")
