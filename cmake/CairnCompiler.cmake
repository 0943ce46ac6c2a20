# How Cairn's own code is compiled. Nothing here reaches the code of those who link it.

set(CMAKE_CXX_SCAN_FOR_MODULES OFF)

if(PROJECT_IS_TOP_LEVEL)
    set(CMAKE_CXX_EXTENSIONS OFF)
    set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
    if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
        set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
    endif()

    # The sloppiness is what ccache asks for to see through precompiled headers.
    find_program(CAIRN_CCACHE ccache)
    mark_as_advanced(CAIRN_CCACHE)
    if(CAIRN_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
        set(CMAKE_CXX_COMPILER_LAUNCHER
            ${CMAKE_COMMAND} -E env
            CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
            ${CAIRN_CCACHE})
    endif()
endif()

if(CAIRN_SANITIZE)
    add_compile_options(
        -fsanitize=${CAIRN_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=${CAIRN_SANITIZE})
    add_compile_definitions(_GLIBCXX_ASSERTIONS)
    if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
        add_compile_options(-fno-sanitize=function)  # clang 14 crashes on it in coroutines
    endif()
endif()

# cairn_own(<target>): the language level and the warnings of the house.
function(cairn_own target)
    target_compile_features(${target} PUBLIC cxx_std_20)
    target_compile_options(${target} PRIVATE
        -Wall -Wextra -Wpedantic -Wshadow -Wconversion
        -Wno-sign-conversion
        -Wno-missing-field-initializers)  # options are structs: {.port = 9092} is meant
    if(CAIRN_WERROR)
        target_compile_options(${target} PRIVATE -Werror)
    endif()
    if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
        # GCC 12 warns of overlapping and oversized copies in std::string itself (PR 105651), and
        # of uninitialised members in code that only the sanitizers' instrumentation made.
        target_compile_options(${target} PRIVATE -Wno-restrict -Wno-stringop-overflow)
        if(CAIRN_SANITIZE)
            target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)
        endif()
    endif()
endfunction()
