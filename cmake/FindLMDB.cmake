# Finds LMDB, the memory-mapped B+tree. Defines the target LMDB::LMDB.
include("${CMAKE_CURRENT_LIST_DIR}/CairnFindLibrary.cmake")
cairn_find_library(LMDB TARGET LMDB::LMDB HEADER lmdb.h LIBRARY lmdb)
