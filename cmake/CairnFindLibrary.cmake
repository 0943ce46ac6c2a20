# cairn_find_library(<Package> TARGET <name> HEADER <file> LIBRARY <name>): the whole of a find
# module for a C library of one header and one library.

include(FindPackageHandleStandardArgs)

macro(cairn_find_library package)
    cmake_parse_arguments(find "" "TARGET;HEADER;LIBRARY" "" ${ARGN})
    find_path(${package}_INCLUDE_DIR ${find_HEADER})
    find_library(${package}_LIBRARY ${find_LIBRARY})
    mark_as_advanced(${package}_INCLUDE_DIR ${package}_LIBRARY)
    find_package_handle_standard_args(${package}
        REQUIRED_VARS ${package}_LIBRARY ${package}_INCLUDE_DIR)
    if(${package}_FOUND AND NOT TARGET ${find_TARGET})
        add_library(${find_TARGET} UNKNOWN IMPORTED)
        set_target_properties(${find_TARGET} PROPERTIES
            IMPORTED_LOCATION "${${package}_LIBRARY}"
            INTERFACE_INCLUDE_DIRECTORIES "${${package}_INCLUDE_DIR}")
    endif()
endmacro()
