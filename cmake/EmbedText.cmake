# Writes text files into a C++ source file as string constants:
#   cmake -D OUTPUT=FILE.cc -D NAMESPACE=rrn::internal -D "FILES=kPage=page.html,kScript=a.js|b.js" -P EmbedText.cmake
# Files with | between them become one text. For each text there is also NAMESha256: the checksum of its bytes in
# hexadecimal.
string(REPLACE "," ";" FILES "${FILES}")
set(source "// Written by cmake/EmbedText.cmake.\nnamespace ${NAMESPACE} {\n")
foreach(entry IN LISTS FILES)
  string(REGEX MATCH "^([A-Za-z0-9_]+)=(.*)$" matched "${entry}")
  set(name "${CMAKE_MATCH_1}")
  string(REPLACE "|" ";" paths "${CMAKE_MATCH_2}")
  set(text "")
  foreach(path IN LISTS paths)
    file(READ "${path}" part)
    file(SHA256 "${path}" checksum)
    # file(READ) leaves out what it does not take for text; the checksum would then be of another text.
    string(SHA256 read_checksum "${part}")
    if(NOT checksum STREQUAL read_checksum)
      message(FATAL_ERROR "${path} cannot be embedded: it holds bytes that are no text")
    endif()
    string(APPEND text "${part}")
  endforeach()
  string(SHA256 checksum "${text}")
  string(FIND "${text}" ")rrn_text\"" ending)
  if(NOT ending EQUAL -1)
    message(FATAL_ERROR "${CMAKE_MATCH_2} cannot be embedded: it holds the end of a raw string")
  endif()
  string(APPEND source "extern const char* const ${name};\nextern const char* const ${name}Sha256;\n"
                       "const char* const ${name} = R\"rrn_text(${text})rrn_text\";\n"
                       "const char* const ${name}Sha256 = \"${checksum}\";\n")
endforeach()
string(APPEND source "}  // namespace ${NAMESPACE}\n")
file(WRITE "${OUTPUT}" "${source}")
