// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "pattern.hpp"

#include <cairn/framework/schema.hpp>
#include <cairn/log/record.hpp>

#include <optional>
#include <string>

namespace cairn::cli {

class json_writer;
class output;
class session;
struct json_field;

/// The schemas that the log has, to print its events by; none, and a note, where they cannot be
/// read: the records can be nevertheless.
std::optional<schema_registry> schemas_of(const commit_log& log, session& s);

/// Prints records as --format says it: "text" (the value and a newline), "json" (an object a
/// line), or a pattern, which has a % or a \ in it. Throws usage_error for anything else.
class record_printer
{
public:
    explicit record_printer(const std::string& format);

    /// With schemas, text and json print events as what they say instead of as bytes.
    void use(std::optional<schema_registry> schemas) { schemas_ = std::move(schemas); }

    void print(output& out, const record_view& record);

private:
    enum class kind { text, json, pattern };

    kind                           kind_;
    std::optional<class pattern>   pattern_;
    std::optional<schema_registry> schemas_;
    std::string                    line_;
};

/// A record as one JSON object, without a newline; its value as `value`, where that is given.
void append_json(std::string& to, const record_view& record,
                 const std::optional<std::string>& value = {});
/// Its members alone.
void write_members(json_writer& json, const record_view& record,
                   const std::optional<std::string>& value);

/// A value as a person reads it: text as text, other bytes in hex.
std::string shown(const std::optional<bytes_view>& value);

/// The type by which queries know the record; "-" where it has none.
std::string type_of(const record_view& record);

/// What the members of that object mean.
std::vector<json_field> record_fields();

/// What --format takes, for the help of the verbs that print records.
inline constexpr const char* record_format_help =
    "text (the default): the value and a newline, of an event whose schema is registered its type "
    "and what it says as JSON; json: an object a line; or a pattern with %s "
    "value, %k key, %h headers, %t topic, %p partition, %o offset, %P position, %T time in "
    "milliseconds, %I time as ISO 8601, %S and %K the lengths of value and key (-1: null), %R as "
    "%S in 4 bytes, %%, \\n, \\r, \\t, \\xNN.";

}  // namespace cairn::cli
