// SPDX-License-Identifier: Apache-2.0
#include "codec.hpp"

#include <cairn/framework/detail/message.hpp>

#include <cairn/log/error.hpp>

#include <capnp/dynamic.h>

#include <array>
#include <charconv>

namespace cairn::detail {

namespace {

constexpr std::string_view capnp_prefix = "capnp:";

std::string hex(std::uint64_t id)
{
    std::array<char, 16> digits;
    digits.fill('0');
    char              buffer[16];
    const auto        end = std::to_chars(buffer, buffer + 16, id, 16).ptr;
    const auto        n   = static_cast<std::size_t>(end - buffer);
    std::copy(buffer, end, digits.begin() + static_cast<std::ptrdiff_t>(16 - n));
    return {digits.data(), digits.size()};
}

/// $Cairn.tag, in schema/cairn/event.capnp.
constexpr std::uint64_t tag_annotation = 0xe3b6d9a24f7c8150;

bool can_be_tag(capnp::Type type)
{
    return type.isText() || type.isBool() || type.isEnum() || type.isInt8() || type.isInt16() ||
           type.isInt32() || type.isInt64() || type.isUInt8() || type.isUInt16() ||
           type.isUInt32() || type.isUInt64();
}

std::string text_of(capnp::DynamicValue::Reader value)
{
    switch (value.getType()) {
    case capnp::DynamicValue::TEXT: {
        const auto text = value.as<capnp::Text>();
        return {text.begin(), text.size()};
    }
    case capnp::DynamicValue::BOOL: return value.as<bool>() ? "true" : "false";
    case capnp::DynamicValue::INT: return std::to_string(value.as<std::int64_t>());
    case capnp::DynamicValue::UINT: return std::to_string(value.as<std::uint64_t>());
    case capnp::DynamicValue::ENUM: {
        const auto one = value.as<capnp::DynamicEnum>();
        KJ_IF_MAYBE(known, one.getEnumerant())
            return known->getProto().getName().cStr();
        return std::to_string(one.getRaw());
    }
    default: return {};
    }
}

std::string_view short_name(capnp::StructSchema schema)
{
    const auto name = schema.getShortDisplayName();
    return {name.begin(), name.size()};
}

}  // namespace

bool event_type::is(capnp::StructSchema schema) const noexcept
{
    return id ? *id == schema.getProto().getId() : name == short_name(schema);
}

std::string event_type::text() const
{
    std::string all{name.empty() ? "without a type" : name};
    if (id) all += " (" + std::string{capnp_prefix} + hex(*id) + ")";
    return all;
}

event_type event_type_of(const record_view& r)
{
    event_type type;
    for (const auto& h : r.headers) {
        if (!h.value) continue;
        if (h.name == header_names::data_schema && h.value->starts_with(capnp_prefix)) {
            const auto    digits = h.value->substr(capnp_prefix.size());
            std::uint64_t id     = 0;
            const auto    end    = digits.data() + digits.size();
            if (std::from_chars(digits.data(), end, id, 16).ptr == end && digits.size() == 16) {
                type.id = id;
                if (!type.name.empty()) break;
            }
        } else if (h.name == header_names::type) {
            type.name = *h.value;
            break;  // the schema comes first
        }
    }
    return type;
}

std::string data_schema_of(capnp::StructSchema schema)
{
    return std::string{capnp_prefix} + hex(schema.getProto().getId());
}

event_codec::event_codec(capnp::StructSchema schema)
    : schema_{schema}, data_schema_{data_schema_of(schema)},
      type_{short_name(schema)}
{
    for (const auto field : schema.getFields())
        for (const auto annotation : field.getProto().getAnnotations()) {
            if (annotation.getId() != tag_annotation) continue;
            if (!can_be_tag(field.getType()))
                throw error{errc::illegal_schema,
                            type_ + "." + field.getProto().getName().cStr() +
                                " is to be a tag, and is no text, integer, boolean or enum: "
                                "tag another field"};
            std::string prefix = annotation.getValue().getText().cStr();
            if (!prefix.empty()) prefix += ':';
            tagged_.push_back({field, std::move(prefix)});
        }
}

std::vector<std::string> event_codec::tags_of(const any_event& e) const
{
    std::vector<std::string> tags;
    if (tagged_.empty()) return tags;
    message    opened{e.bytes()};
    const auto root = opened.opened().getRoot<capnp::DynamicStruct>(schema_);
    for (const auto& [field, prefix] : tagged_) {
        // A member of a union that is not the one that is set has no value.
        if (!root.has(field)) continue;
        auto text = text_of(root.get(field));
        if (!text.empty()) tags.push_back(prefix + text);
    }
    return tags;
}

record event_codec::record_of(const any_event& e, const stream_id& stream, version at,
                              const command_context& context, const std::string& source) const
{
    const auto version_text = std::to_string(at.value);

    record r;
    r.key   = stream.key;
    r.value = std::string{e.bytes()};
    r.headers.reserve(10);
    const auto put = [&](std::string_view name, std::string value) {
        r.headers.push_back({std::string{name}, std::move(value)});
    };
    put(header_names::data_schema, data_schema_);
    put(header_names::type, type_);
    if (auto tags = tags_of(e); !tags.empty()) put(header_names::tags, join_tags(tags));
    put(header_names::id, stream.topic + "/" + stream.key + "@" + version_text);
    put(header_names::source, source);
    put(header_names::spec_version, "1.0");
    put(header_names::content_type, "application/capnp");
    put(header_names::stream_version, version_text);
    if (context.correlation_id) put(header_names::correlation_id, *context.correlation_id);
    if (context.causation_id) put(header_names::causation_id, *context.causation_id);
    if (context.trace_parent) put(header_names::trace_parent, *context.trace_parent);
    return r;
}

}  // namespace cairn::detail
