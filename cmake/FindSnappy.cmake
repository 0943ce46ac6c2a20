# Finds Snappy, the compressor. Defines the target Snappy::snappy.
include("${CMAKE_CURRENT_LIST_DIR}/CairnFindLibrary.cmake")
cairn_find_library(Snappy TARGET Snappy::snappy HEADER snappy.h LIBRARY snappy)
