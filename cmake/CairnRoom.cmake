# A room is a library, its public headers, and a component of the installed package.
#
#   cairn_add_room(<room> [ROOMS <room>...] [PACKAGES <package>...])
#
# makes the target cairn_<room>, alias cairn::<room>. ROOMS are the rooms below it and PACKAGES
# what it takes from outside ("Boost 1.81": the arguments of find_package). Both are said once:
# they are found here, and again by find_package(cairn COMPONENTS <room>) of the installed
# package. The room's CMakeLists.txt then lists its files:
#
#   target_sources(cairn_<room>
#       PUBLIC FILE_SET HEADERS BASE_DIRS include FILES include/cairn/<room>/...
#       PRIVATE src/...)

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(cairn_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/cairn")
set(cairn_schema_dir "${CMAKE_INSTALL_DATADIR}/cairn/schema")

macro(cairn_add_room room)  # a macro, so that what the packages define is seen by the caller
    cmake_parse_arguments(room "" "" "ROOMS;PACKAGES" ${ARGN})

    foreach(package IN LISTS room_PACKAGES)
        separate_arguments(package)
        find_package(${package} REQUIRED)
    endforeach()

    add_library(cairn_${room})
    add_library(cairn::${room} ALIAS cairn_${room})
    cairn_own(cairn_${room})
    set_target_properties(cairn_${room} PROPERTIES
        EXPORT_NAME ${room}
        VERSION ${PROJECT_VERSION}
        SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
        VERIFY_INTERFACE_HEADER_SETS ON)
    target_include_directories(cairn_${room} PRIVATE src)
    foreach(below IN LISTS room_ROOMS)
        target_link_libraries(cairn_${room} PUBLIC cairn::${below})
    endforeach()
    cairn_install_room(${room} "${room_ROOMS}" "${room_PACKAGES}")
endmacro()

function(cairn_install_room room rooms packages)
    # Deferred to the end of the room's CMakeLists.txt, when its files are known.
    cmake_language(EVAL CODE "cmake_language(DEFER CALL install
        TARGETS cairn_${room} EXPORT cairn-${room} FILE_SET HEADERS)")
    install(EXPORT cairn-${room}
        FILE cairn-${room}-targets.cmake NAMESPACE cairn:: DESTINATION ${cairn_package_dir})

    set(text "")
    foreach(package IN LISTS packages)
        string(APPEND text "find_dependency(${package})\n")
    endforeach()
    foreach(below IN LISTS rooms)
        string(APPEND text "include(\"\${CMAKE_CURRENT_LIST_DIR}/cairn-${below}.cmake\")\n")
    endforeach()
    string(APPEND text "include(\"\${CMAKE_CURRENT_LIST_DIR}/cairn-${room}-targets.cmake\")\n")
    file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/package/cairn-${room}.cmake"
        CONTENT "include_guard()\n${text}" @ONLY)
    install(FILES "${PROJECT_BINARY_DIR}/package/cairn-${room}.cmake"
        DESTINATION ${cairn_package_dir})
endfunction()

# cairn_install_pkgconfig(<room> DESCRIPTION <text> REQUIRES <pkg-config names>...)
# installs cairn-<room>.pc. A static library hands its own needs on to whoever links it.
function(cairn_install_pkgconfig room)
    cmake_parse_arguments(pc "" "DESCRIPTION" "REQUIRES" ${ARGN})
    set(pc_ROOM ${room})
    list(JOIN pc_REQUIRES " " pc_REQUIRES)
    set(pc_PRIVATE "")
    if(BUILD_SHARED_LIBS)
        set(pc_PRIVATE ".private")
    endif()
    # Relative to the file, so that an installed tree can be moved.
    set(pc_DIR "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
    file(RELATIVE_PATH pc_INCLUDEDIR "/${pc_DIR}" "/${CMAKE_INSTALL_INCLUDEDIR}")
    set(file "${PROJECT_BINARY_DIR}/package/cairn-${room}.pc")
    configure_file("${PROJECT_SOURCE_DIR}/cmake/cairn.pc.in" "${file}" @ONLY)
    install(FILES "${file}" DESTINATION ${pc_DIR})
endfunction()

# What all rooms share of the installed package.
function(cairn_install_package)
    set(package "${PROJECT_BINARY_DIR}/package")
    configure_package_config_file(
        "${PROJECT_SOURCE_DIR}/cmake/cairnConfig.cmake.in" "${package}/cairnConfig.cmake"
        INSTALL_DESTINATION ${cairn_package_dir} PATH_VARS cairn_schema_dir)
    write_basic_package_version_file("${package}/cairnConfigVersion.cmake"
        COMPATIBILITY SameMinorVersion)
    file(GLOB finders "${PROJECT_SOURCE_DIR}/cmake/Find*.cmake")
    install(
        FILES
            "${package}/cairnConfig.cmake" "${package}/cairnConfigVersion.cmake"
            "${PROJECT_SOURCE_DIR}/cmake/CairnFindLibrary.cmake"
            "${PROJECT_SOURCE_DIR}/cmake/CairnEvents.cmake" ${finders}
        DESTINATION ${cairn_package_dir})
    install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION ${CMAKE_INSTALL_DOCDIR})
endfunction()
