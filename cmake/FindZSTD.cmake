# Finds Zstandard, the compressor. Defines the target ZSTD::ZSTD.
include("${CMAKE_CURRENT_LIST_DIR}/CairnFindLibrary.cmake")
cairn_find_library(ZSTD TARGET ZSTD::ZSTD HEADER zstd.h LIBRARY zstd)
