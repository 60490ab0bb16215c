# cmake -DOUT=FILE -DDIR=DIR -P embed.cmake NAME...: files as C arrays, web_NAME and web_NAME_len.
set(c "/* Made from edge/web/ by embed.cmake. */\n#include \"edge/pages_int.h\"\n")
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE 5 ${last})
    set(name ${CMAKE_ARGV${i}})
    string(MAKE_C_IDENTIFIER ${name} id)
    file(READ ${DIR}/${name} hex HEX)
    string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
    string(APPEND c "\nconst unsigned char web_${id}[] = {\n${hex}\n};\n"
                    "const size_t web_${id}_len = sizeof web_${id};\n")
endforeach()
file(WRITE ${OUT} "${c}")
