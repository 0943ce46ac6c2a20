// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <string>

namespace cairn::detail {

/// What an exception says.
inline std::string reason_of(const std::exception_ptr& e)
{
    try {
        std::rethrow_exception(e);
    } catch (const std::exception& thrown) {
        return thrown.what();
    } catch (...) {
        return "something was thrown that is no std::exception";
    }
}

}  // namespace cairn::detail
