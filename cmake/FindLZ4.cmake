# Finds LZ4, the compressor. Defines the target LZ4::LZ4.
include("${CMAKE_CURRENT_LIST_DIR}/CairnFindLibrary.cmake")
cairn_find_library(LZ4 TARGET LZ4::LZ4 HEADER lz4.h LIBRARY lz4)
