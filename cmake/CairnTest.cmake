# Tests. One ctest entry per program, not per case: starting processes is not what we test.

# Where a sanitizer speaks, the test has failed.
set(cairn_test_environment
    "ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1"
    "UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1"
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1")

# cairn_add_test(NAME <room.what> SOURCES <file>... [LIBRARIES <target>...]
#                [LABELS <label>...] [TIMEOUT <seconds>])
#
# A program of Catch2 cases and its ctest entry, both called NAME. Without LABELS it is `unit`.
function(cairn_add_test)
    cmake_parse_arguments(test "" "NAME;TIMEOUT" "SOURCES;LIBRARIES;LABELS" ${ARGN})
    cairn_add_test_program(NAME ${test_NAME}
        SOURCES ${test_SOURCES} LIBRARIES ${test_LIBRARIES} cairn_test_main)
    target_precompile_headers(${test_NAME} REUSE_FROM cairn_test_main)
    cairn_register_test(${test_NAME} "${test_LABELS}" "${test_TIMEOUT}" ${test_NAME})
endfunction()

# cairn_add_fuzzer(NAME <room.fuzz.what> SOURCES <file>... [LIBRARIES <target>...] CORPUS <dir>)
#
# The sources define LLVMFuzzerTestOneInput. With CAIRN_BUILD_FUZZ the program is libFuzzer's;
# without it is one that replays the corpus, built by any compiler. Either way ctest replays it.
function(cairn_add_fuzzer)
    cmake_parse_arguments(fuzz "" "NAME;CORPUS" "SOURCES;LIBRARIES" ${ARGN})
    cairn_add_test_program(NAME ${fuzz_NAME}
        SOURCES ${fuzz_SOURCES} LIBRARIES ${fuzz_LIBRARIES})
    if(CAIRN_BUILD_FUZZ)
        target_link_options(${fuzz_NAME} PRIVATE -fsanitize=fuzzer)
        set(replay -runs=0)
    else()
        target_sources(${fuzz_NAME} PRIVATE "${PROJECT_SOURCE_DIR}/tests/main/replay_main.cpp")
        set(replay "")
    endif()
    get_filename_component(corpus "${fuzz_CORPUS}" ABSOLUTE)
    cairn_register_test(${fuzz_NAME} fuzz "" ${fuzz_NAME} ${replay} "${corpus}")
endfunction()

# cairn_add_test_program(NAME <name> SOURCES <file>... [LIBRARIES <target>...])
#
# A program that tests run. It sees tests/ and, of the rooms among its LIBRARIES, the internal
# headers, as those rooms' own sources do.
function(cairn_add_test_program)
    cmake_parse_arguments(program "" "NAME" "SOURCES;LIBRARIES" ${ARGN})
    add_executable(${program_NAME} ${program_SOURCES})
    cairn_own(${program_NAME})
    target_link_libraries(${program_NAME} PRIVATE ${program_LIBRARIES})
    target_include_directories(${program_NAME} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
    foreach(library IN LISTS program_LIBRARIES)
        if(library MATCHES "^cairn::")
            target_include_directories(${program_NAME} PRIVATE
                $<TARGET_PROPERTY:${library},SOURCE_DIR>/src)
        endif()
    endforeach()
endfunction()

# cairn_register_test(<name> <labels> <timeout in seconds> <command>...)
function(cairn_register_test name labels timeout)
    if(NOT labels)
        set(labels unit)
    endif()
    if(NOT timeout)
        set(timeout 120)
    endif()
    add_test(NAME ${name} COMMAND ${ARGN})
    set_tests_properties(${name} PROPERTIES
        LABELS "${labels}" TIMEOUT ${timeout}
        SKIP_RETURN_CODE 77
        ENVIRONMENT "${cairn_test_environment}")
endfunction()
