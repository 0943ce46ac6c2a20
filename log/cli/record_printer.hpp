// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "pattern.hpp"

#include <cairn/log/record.hpp>

#include <optional>
#include <string>

namespace cairn::cli {

class output;
struct json_field;

/// Prints records as --format says it: "text" (the value and a newline), "json" (an object a
/// line), or a pattern, which has a % or a \ in it. Throws usage_error for anything else.
class record_printer
{
public:
    explicit record_printer(const std::string& format);

    void print(output& out, const record_view& record);

private:
    enum class kind { text, json, pattern };

    kind                         kind_;
    std::optional<class pattern> pattern_;
    std::string                  line_;
};

/// A record as one JSON object, without a newline.
void append_json(std::string& to, const record_view& record);

/// What the members of that object mean.
std::vector<json_field> record_fields();

/// What --format takes, for the help of the verbs that print records.
inline constexpr const char* record_format_help =
    "text (the default): the value and a newline; json: an object a line; or a pattern with %s "
    "value, %k key, %h headers, %t topic, %p partition, %o offset, %P position, %T time in "
    "milliseconds, %I time as ISO 8601, %S and %K the lengths of value and key (-1: null), %R as "
    "%S in 4 bytes, %%, \\n, \\r, \\t, \\xNN.";

}  // namespace cairn::cli
