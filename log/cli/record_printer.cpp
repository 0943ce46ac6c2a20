// SPDX-License-Identifier: Apache-2.0
#include "record_printer.hpp"

#include "command.hpp"
#include "json.hpp"
#include "moment.hpp"
#include "output.hpp"
#include "session.hpp"
#include "text.hpp"

#include <cairn/log/commit_log.hpp>

namespace cairn::cli {

record_printer::record_printer(const std::string& format)
{
    if (format == "text") {
        kind_ = kind::text;
    } else if (format == "json") {
        kind_ = kind::json;
    } else if (format.find_first_of("%\\") != std::string::npos) {
        kind_ = kind::pattern;
        pattern_.emplace(format);
    } else {
        throw usage_error{"--format: '" + format +
                          "' is neither text nor json, nor a pattern like '%k %s\\n'"};
    }
}

void record_printer::print(output& out, const record_view& record)
{
    switch (kind_) {
    case kind::text:
        if (const auto event = schemas_ ? schemas_->json(record) : std::nullopt) {
            out.write(printable(type_of(record)) + ' ' + *event + '\n');
            return;
        }
        out.write(record.value.value_or(""));
        out.write("\n");
        return;
    case kind::json:
        line_.clear();
        append_json(line_, record, schemas_ ? schemas_->json(record) : std::nullopt);
        line_ += '\n';
        break;
    case kind::pattern:
        line_.clear();
        pattern_->append(line_, record);
        break;
    }
    out.write(line_);
}

std::optional<schema_registry> schemas_of(const commit_log& log, session& s)
try {
    return schema_registry{log};
} catch (const error& fault) {
    s.note(std::string{"events are printed as bytes, for the log's schemas cannot be read: "} +
           fault.what());
    return std::nullopt;
}

std::string type_of(const record_view& r)
{
    for (const auto name : {header_names::type, header_names::data_schema})
        if (const auto value = r.headers.find(name)) return std::string{*value};
    return "-";
}

std::string shown(const std::optional<bytes_view>& value)
{
    if (!value) return "null";
    if (is_utf8(*value)) return std::string{*value};
    constexpr char        digits[] = "0123456789abcdef";
    constexpr std::size_t most     = 64;

    std::string text = "0x";
    for (const char c : value->substr(0, most)) {
        const auto byte = static_cast<unsigned char>(c);
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    if (value->size() > most) text += "… (" + counted(value->size(), "byte") + ')';
    return text;
}

void append_json(std::string& to, const record_view& r, const std::optional<std::string>& value)
{
    json_writer json{to};
    json.begin_object();
    write_members(json, r, value);
    json.end_object();
}

void write_members(json_writer& json, const record_view& r, const std::optional<std::string>& value)
{
    json.field("topic", r.from ? std::string_view{r.from->topic} : std::string_view{});
    json.field("partition", r.from ? r.from->partition : -1);
    json.field("offset", r.offset.value).field("position", r.position.value);
    if (r.version.value >= 0) json.field("version", r.version.value);
    json.field("timestamp", r.timestamp.value).field("time", as_iso_time(r.timestamp));
    json.bytes("key", r.key);
    if (value)
        json.name("value").raw(*value);
    else
        json.bytes("value", r.value);
    json.name("headers").begin_array();
    for (const auto& h : r.headers)
        json.begin_object().bytes("name", h.name).bytes("value", h.value).end_object();
    json.end_array();
}

std::vector<json_field> record_fields()
{
    return {{"topic", "The topic."},
            {"partition", "The partition."},
            {"offset", "Its place in the partition."},
            {"position", "Its place in the log, over all partitions."},
            {"version", "Its place in its stream, where a stream is read."},
            {"timestamp", "Its time, in milliseconds since 1970."},
            {"time", "The same as ISO 8601."},
            {"key", "Its key, or null; key_base64 instead where it is not UTF-8."},
            {"value",
             "Its value, or null; value_base64 instead where it is not UTF-8. An event whose "
             "schema is registered: an object of its fields."},
            {"headers", "An array of objects: name and value (or value_base64)."}};
}

}  // namespace cairn::cli
