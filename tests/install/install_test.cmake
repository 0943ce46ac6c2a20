# cmake -D BUILD_DIR=… -D WORK_DIR=… -D LIBDIR=… -D CXX=… -D CXX_FLAGS=… -P install_test.cmake

function(run)
    execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

set(prefix "${WORK_DIR}/prefix")
set(consumer "${CMAKE_CURRENT_LIST_DIR}/consumer")
file(REMOVE_RECURSE "${WORK_DIR}")

run(${CMAKE_COMMAND} --install "${BUILD_DIR}" --prefix "${prefix}")

# By find_package(cairn COMPONENTS log), from a prefix that has moved since it was installed.
file(RENAME "${prefix}" "${WORK_DIR}/moved")
set(prefix "${WORK_DIR}/moved")
run(${CMAKE_COMMAND} -G Ninja -S "${consumer}" -B "${WORK_DIR}/build"
    -D CMAKE_PREFIX_PATH=${prefix} -D CMAKE_CXX_COMPILER=${CXX} -D CMAKE_CXX_FLAGS=${CXX_FLAGS})
run(${CMAKE_COMMAND} --build "${WORK_DIR}/build")
run("${WORK_DIR}/build/consumer" "${WORK_DIR}/data-cmake")
run("${WORK_DIR}/build/events")
run("${WORK_DIR}/build/read_model" "${WORK_DIR}/read-model")

# By pkg-config.
set(ENV{PKG_CONFIG_PATH} "${prefix}/${LIBDIR}/pkgconfig")
set(ENV{LD_LIBRARY_PATH} "${prefix}/${LIBDIR}")
execute_process(COMMAND pkg-config --cflags --libs cairn-log
    OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(flags UNIX_COMMAND "${flags}")
separate_arguments(CXX_FLAGS UNIX_COMMAND "${CXX_FLAGS}")
run(${CXX} -std=c++20 ${CXX_FLAGS} "${consumer}/main.cpp"
    -o "${WORK_DIR}/consumer-pkgconfig" ${flags})
run("${WORK_DIR}/consumer-pkgconfig" "${WORK_DIR}/data-pkgconfig")
