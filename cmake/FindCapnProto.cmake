# Finds Cap'n Proto: the targets CapnProto::capnp, CapnProto::capnp-json and CapnProto::capnpc (which
# reads .capnp files), and its compiler as CapnProto_COMPILER with CapnProto_CXX_PLUGIN. (The package's own configuration file looks for
# libatomic with a C compiler, and fails in a project that has none.)
include("${CMAKE_CURRENT_LIST_DIR}/CairnFindLibrary.cmake")

find_path(CapnProto_INCLUDE_DIR capnp/message.h)
foreach(part kj capnp capnp-json capnpc)
    find_library(CapnProto_${part}_LIBRARY ${part})
    mark_as_advanced(CapnProto_${part}_LIBRARY)
endforeach()
find_program(CapnProto_COMPILER capnp)
find_program(CapnProto_CXX_PLUGIN capnpc-c++)
mark_as_advanced(CapnProto_INCLUDE_DIR CapnProto_COMPILER CapnProto_CXX_PLUGIN)

find_package_handle_standard_args(CapnProto REQUIRED_VARS
    CapnProto_capnp_LIBRARY CapnProto_capnp-json_LIBRARY CapnProto_capnpc_LIBRARY
    CapnProto_kj_LIBRARY
    CapnProto_INCLUDE_DIR CapnProto_COMPILER CapnProto_CXX_PLUGIN)

if(CapnProto_FOUND AND NOT TARGET CapnProto::capnp)
    set(below "")
    foreach(part kj capnp capnp-json capnpc)
        add_library(CapnProto::${part} UNKNOWN IMPORTED GLOBAL)
        set_target_properties(CapnProto::${part} PROPERTIES
            IMPORTED_LOCATION "${CapnProto_${part}_LIBRARY}"
            INTERFACE_INCLUDE_DIRECTORIES "${CapnProto_INCLUDE_DIR}"
            INTERFACE_LINK_LIBRARIES "${below}")
        set(below CapnProto::${part})
        if(part STREQUAL "capnp-json")
            set(below CapnProto::capnp)
        endif()
    endforeach()
endif()
