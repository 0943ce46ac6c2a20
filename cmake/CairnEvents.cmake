# cairn_add_events(<target> <file.capnp>...)
#
# Compiles Cap'n Proto schemas with the target: order.capnp is included as "order.capnp.h", by the
# target and by whoever links it. Schemas may import /cairn/event.capnp, for its annotations.
# Needs the package CapnProto and its compiler: capnproto and libcapnp-dev on Debian.
#
# The folder of these is beside the sources, or where the installed package says. It is kept as a
# property, because the function may be called in another scope than this file is read in.
if(NOT DEFINED cairn_event_schemas)
    set(cairn_event_schemas "${PROJECT_SOURCE_DIR}/framework/schema")
endif()
set_property(GLOBAL PROPERTY cairn_event_schemas "${cairn_event_schemas}")

function(cairn_add_events target)
    if(NOT ARGN)
        message(FATAL_ERROR "cairn_add_events(${target}): name a .capnp file")
    endif()
    get_property(schemas GLOBAL PROPERTY cairn_event_schemas)
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
                "--src-prefix=${folder}" "--import-path=${schemas}" "${file}"
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
