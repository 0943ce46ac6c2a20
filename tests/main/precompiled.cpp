// SPDX-License-Identifier: Apache-2.0
// Empty: the source for which precompiled.hpp is compiled. (catch_main.cpp cannot be: it must meet
// Catch2's header first, with CATCH_CONFIG_MAIN.)
