// SPDX-License-Identifier: Apache-2.0
//
// Bytes and numbers as people, and as JSON, read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::cli {

/// 541910 as "541,910".
std::string with_commas(std::uint64_t number);

/// 50331648 as "48.0 MiB".
std::string as_size(std::uint64_t bytes);

/// One line that no terminal trips over: control characters, and bytes that are not UTF-8, are
/// written \n, \t, \\ or \xNN.
std::string printable(std::string_view bytes);

bool is_utf8(std::string_view bytes) noexcept;

std::string base64(std::string_view bytes);

/// As many columns as a terminal takes for it, counting every character as one.
std::size_t columns(std::string_view utf8) noexcept;

/// At most `most` columns of it; the last is … where some is missing.
std::string cut(std::string_view utf8, std::size_t most);

/// \n, \r, \t, \0, \\, \xNN and \NNN (octal) for what they stand for. Throws usage_error, which
/// names `what`, for another letter after a backslash.
std::string unescape(std::string_view text, std::string_view what);

std::vector<std::string> split(std::string_view text, char at);

/// "1 record", "2 records".
std::string counted(std::uint64_t number, std::string_view thing);

}  // namespace cairn::cli
