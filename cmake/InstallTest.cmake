# Installs BUILD_DIR to a fresh prefix, builds the project in SOURCE_DIR against it and checks what its programs print.
file(REMOVE_RECURSE "${WORK_DIR}")
function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ERROR_IS_FATAL ANY)
endfunction()

# prints(TEXT COMMAND...): the command succeeds and prints exactly this line.
function(prints expected)
  execute_process(COMMAND ${ARGN} OUTPUT_VARIABLE output OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(NOT output STREQUAL expected)
    message(FATAL_ERROR "${ARGN}: expected '${expected}', got '${output}'")
  endif()
endfunction()

run(${CMAKE_COMMAND} --install "${BUILD_DIR}" --prefix "${WORK_DIR}/first")
# A package that works only where it was first installed would fail from here on.
file(RENAME "${WORK_DIR}/first" "${WORK_DIR}/prefix")
run(${CMAKE_COMMAND} -S "${SOURCE_DIR}" -B "${WORK_DIR}/build" -G "${GENERATOR}" -D CMAKE_PREFIX_PATH=${WORK_DIR}/prefix
    -D CMAKE_BUILD_TYPE=Release)
run(${CMAKE_COMMAND} --build "${WORK_DIR}/build")
prints("5.5 10.5 16.5 21.5" "${WORK_DIR}/build/reduce")
# A picture of 2 x 2 pixels, as BMP, and a copy of it.
run(sh -c "printf 'BM\\106\\0\\0\\0\\0\\0\\0\\0\\066\\0\\0\\0\\050\\0\\0\\0\\2\\0\\0\\0\\2\\0\\0\\0\\1\\0\\030\\0\\0\\0\\0\\0\\020\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\200\\100\\040\\377\\0\\020\\0\\0\\010\\300\\060\\001\\002\\003\\0\\0' > '${WORK_DIR}/a.bmp'")
file(COPY_FILE "${WORK_DIR}/a.bmp" "${WORK_DIR}/b.bmp")
prints("1.000000" "${WORK_DIR}/build/compare_two_images" "${WORK_DIR}/a.bmp" "${WORK_DIR}/b.bmp")
run("${WORK_DIR}/prefix/bin/similarity" --version)
foreach(
  file
  man/man1/similarity.1
  bash-completion/completions/similarity
  zsh/site-functions/_similarity
  fish/vendor_completions.d/similarity.fish)
  file(SIZE "${WORK_DIR}/prefix/share/${file}" size)
  if(size EQUAL 0)
    message(FATAL_ERROR "${file} is empty")
  endif()
endforeach()
file(REMOVE_RECURSE "${WORK_DIR}")
