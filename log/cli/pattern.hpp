// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/record.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace cairn::cli {

/// How a record is printed, said as kcat's -f says it and a little more:
///
///     %s value      %S its length, -1 for null     %R the same, 4 bytes, big-endian
///     %k key        %K its length, -1 for null     %h headers: name=value,name=value
///     %t topic      %p partition     %o offset     %T time, in milliseconds since 1970
///     %P position   %I time, as 2010-12-01T08:26:00.000Z      %% a percent sign
///     \n \r \t \\ \xNN \NNN
///
/// Null prints as nothing. Throws usage_error for any other letter.
class pattern
{
public:
    explicit pattern(std::string_view text);

    void append(std::string& to, const record_view& record) const;

private:
    struct piece
    {
        char        letter = 0;  ///< 0: text as it is
        std::string text;
    };
    std::vector<piece> pieces_;
};

}  // namespace cairn::cli
