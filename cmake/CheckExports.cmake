# cmake -D NM=... -D LIBRARY=file -D SYMBOLS=a;b -P CheckExports.cmake: fails unless the library exports exactly SYMBOLS.
execute_process(COMMAND "${NM}" -D --defined-only --format=posix "${LIBRARY}" OUTPUT_VARIABLE output
                COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" lines "${output}")
set(found)
foreach(line IN LISTS lines)
  string(REGEX REPLACE " .*" "" symbol "${line}")
  list(APPEND found "${symbol}")
endforeach()
list(SORT found)
list(SORT SYMBOLS)
if(NOT found STREQUAL SYMBOLS)
  message(FATAL_ERROR "${LIBRARY} exports '${found}', expected '${SYMBOLS}'")
endif()
