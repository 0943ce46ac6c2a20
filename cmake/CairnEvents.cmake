# cairn_add_events(<target> <file.capnp>...)
#
# Compiles Cap'n Proto schemas with the target: order.capnp is included as "order.capnp.h", by the
# target and by whoever links it. Schemas may import /cairn/event.capnp, for its annotations.
# Needs the package CapnProto and its compiler: capnproto and libcapnp-dev on Debian.
set(cairn_event_schemas "${PROJECT_SOURCE_DIR}/framework/schema")

function(cairn_add_events target)
    if(NOT ARGN)
        message(FATAL_ERROR "cairn_add_events(${target}): name a .capnp file")
    endif()
    set(made "${CMAKE_CURRENT_BINARY_DIR}/${target}.events")
    foreach(schema IN LISTS ARGN)
        get_filename_component(file "${schema}" ABSOLUTE)
        get_filename_component(name "${file}" NAME)
        get_filename_component(folder "${file}" DIRECTORY)
        add_custom_command(
            OUTPUT "${made}/${name}.c++" "${made}/${name}.h"
            COMMAND ${CMAKE_COMMAND} -E make_directory "${made}"
            COMMAND "${CapnProto_COMPILER}" compile
                "--output=${CapnProto_CXX_PLUGIN}:${made}"
                "--src-prefix=${folder}" "--import-path=${cairn_event_schemas}" "${file}"
            DEPENDS "${file}"
            COMMENT "Compiling the events in ${name}"
            VERBATIM)
        target_sources(${target} PRIVATE "${made}/${name}.c++" "${made}/${name}.h")
        # Not our code: no warnings, and none of the target's precompiled headers.
        set_source_files_properties("${made}/${name}.c++" PROPERTIES
            COMPILE_OPTIONS -w SKIP_PRECOMPILE_HEADERS ON)
    endforeach()
    target_include_directories(${target} SYSTEM PUBLIC "$<BUILD_INTERFACE:${made}>")
    target_link_libraries(${target} PUBLIC CapnProto::capnp)
endfunction()
