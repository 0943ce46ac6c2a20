// SPDX-License-Identifier: Apache-2.0
//
// What is said at the control socket: a line of JSON asks, a line of JSON answers, and so on.
//
//     {"do":"drop","projection":"revenue","version":1}
//     {"ok":true}
//     {"do":"rebuild","projection":"revnue"}
//     {"ok":false,"code":100,"message":"there is no projection revnue: …"}
#pragma once

#include <cairn/projections/projection_runner.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::detail {

/// A longer request is refused.
constexpr std::size_t request_bytes_max = std::size_t{64} << 10;

enum class control_verb {
    status,
    unfed,
    rebuild,
    cancel_rebuild,
    pause,
    resume,
    reset,
    swap,
    drop,
    skip,
    parked,
    retry_parked,
    skip_parked,
    verify,
};

struct control_request
{
    control_verb                   verb = control_verb::status;
    std::string                    projection{};  ///< "": all, where that makes sense
    int                            version = 0;
    cairn::position                position{0};
    std::optional<topic_partition> in{};  ///< and `at` in it: a parked event
    offset                         at{0};
};

struct control_answer
{
    std::vector<projection_status> projections{};
    std::vector<parked_event>      parked{};
    std::optional<verification>    verified{};
    std::uint64_t                  count = 0;  ///< how many were handled; which version is built
};

// Lines, without their end.
std::string text_of(const control_request& r);
std::string text_of(const control_answer& a);
std::string text_of(const error& e);

/// Throws invalid_argument.
control_request request_from(std::string_view line);
/// Throws the error that was answered; io_failed where it is no answer.
control_answer answer_from(std::string_view line);

}  // namespace cairn::detail
