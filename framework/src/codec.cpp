// SPDX-License-Identifier: Apache-2.0
#include "codec.hpp"

#include "annotations.hpp"

#include <cairn/framework/detail/message.hpp>
#include <cairn/framework/detail/names.hpp>

#include <cairn/log/error.hpp>

#include <capnp/dynamic.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

namespace cairn::detail {

namespace {

constexpr std::string_view capnp_prefix    = "capnp:";
constexpr std::string_view decision_header = "cairn_decision";

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

bool is_annotated(capnp::StructSchema::Field field, std::uint64_t annotation)
{
    for (const auto a : field.getProto().getAnnotations())
        if (a.getId() == annotation) return true;
    return false;
}

std::string_view name_of(capnp::StructSchema::Field field)
{
    return field.getProto().getName().cStr();
}

std::string name_of(const std::vector<capnp::StructSchema::Field>& path)
{
    std::string all;
    for (const auto field : path) {
        if (!all.empty()) all += '.';
        all += name_of(field);
    }
    return all;
}

/// Of a field that is a struct, a group, or a list of structs.
std::optional<capnp::StructSchema> struct_in(capnp::StructSchema::Field field)
{
    auto type = field.getType();
    while (type.isList()) type = type.asList().getElementType();
    if (!type.isStruct()) return std::nullopt;
    return type.asStruct();
}

// Types may contain themselves, and each other: `seen` has those that were gone through.
bool has_annotated(capnp::StructSchema schema, std::uint64_t annotation,
                   std::set<std::uint64_t>& seen)
{
    if (!seen.insert(schema.getProto().getId()).second) return false;
    for (const auto field : schema.getFields()) {
        if (is_annotated(field, annotation)) return true;
        if (const auto inner = struct_in(field); inner && has_annotated(*inner, annotation, seen))
            return true;
    }
    return false;
}

/// Whether a struct, or one inside of it, has a field that is marked so.
bool has_annotated(capnp::StructSchema schema, std::uint64_t annotation)
{
    std::set<std::uint64_t> seen;
    return has_annotated(schema, annotation, seen);
}

/// None where the field, or a group that it is in, is a member of a union that is not set.
std::optional<capnp::DynamicValue::Reader> value_at(
    capnp::DynamicStruct::Reader of, const std::vector<capnp::StructSchema::Field>& path)
{
    for (auto field = path.begin();; ++field) {
        if (!of.has(*field)) return std::nullopt;
        const auto value = of.get(*field);
        if (field + 1 == path.end()) return value;
        of = value.as<capnp::DynamicStruct>();
    }
}

}  // namespace

bool has_personal(capnp::StructSchema schema)
{
    return has_annotated(schema, personal_annotation);
}

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
            }
        } else if (h.name == personal_header) {
            type.personal = true;
        } else if (h.name == header_names::type) {
            type.name = *h.value;
            break;  // the schema comes first, and what is personal
        }
    }
    return type;
}

std::size_t records_in_decision(const record_view& r)
{
    const auto  text = r.headers.find(decision_header).value_or(bytes_view{});
    std::size_t n    = 1;
    std::from_chars(text.data(), text.data() + text.size(), n);
    return std::max<std::size_t>(n, 1);
}

std::string data_schema_of(std::uint64_t type_id)
{
    return std::string{capnp_prefix} + hex(type_id);
}

std::string data_schema_of(capnp::StructSchema schema)
{
    return data_schema_of(schema.getProto().getId());
}

event_codec::event_codec(capnp::StructSchema schema)
    : schema_{schema}, data_schema_{data_schema_of(schema)},
      type_{short_name(schema)}
{
    add_fields(schema, {});
    for (const auto& p : personal_) {
        if (p.subject && is_annotated(*p.subject, personal_annotation))
            throw error{errc::illegal_schema,
                        type_ + "." + std::string{name_of(*p.subject)} +
                            " says whose the personal fields are, and is personal itself: use an "
                            "id that says nothing about the person"};
        for (const auto f : p.fields)
            if (is_annotated(f, tag_annotation))
                throw error{errc::illegal_schema,
                            type_ + "." + std::string{name_of(f)} +
                                " is personal, and a tag, which is plain text: tag an id instead"};
    }
}

void event_codec::add_fields(capnp::StructSchema of, const field_path& groups)
{
    for (const auto field : of.getFields()) {
        auto path = groups;
        path.push_back(field);
        for (const auto annotation : field.getProto().getAnnotations()) {
            if (annotation.getId() == personal_annotation)
                add_personal(field, annotation.getValue().getText().cStr());
            if (annotation.getId() == key_annotation) add_key(path);
            if (annotation.getId() == tag_annotation)
                add_tag(path, annotation.getValue().getText().cStr());
        }
        if (!field.getProto().isGroup()) {
            refuse_inside(path);
            continue;
        }
        if (has_personal(*struct_in(field)))
            refuse(path,
                   " is a group with a field that is personal: take that out of it, or it "
                   "would be recorded as plain text");
        add_fields(*struct_in(field), path);
    }
}

/// What is marked inside of a struct or a list is not followed: there may be none of it, or many.
void event_codec::refuse_inside(const field_path& field) const
{
    const auto inner = struct_in(field.back());
    if (!inner) return;
    if (!is_annotated(field.back(), personal_annotation) && has_personal(*inner))
        refuse(field,
               " holds a field that is personal: mark this one, or it would be recorded as "
               "plain text");
    if (has_annotated(*inner, tag_annotation))
        refuse(field,
               " holds a field that is a tag, and would make none: only fields of the "
               "event itself and of its groups do");
    if (has_annotated(*inner, key_annotation))
        refuse(field,
               " holds a field that is the stream's id, and would not be it: only a field "
               "of the event itself or of its groups is");
}

void event_codec::refuse(const field_path& field, const std::string& why) const
{
    throw error{errc::illegal_schema, type_ + "." + name_of(field) + why};
}

void event_codec::add_tag(const field_path& field, std::string prefix)
{
    if (!can_be_tag(field.back().getType()))
        refuse(field,
               " is to be a tag, and is no text, integer, boolean or enum: tag another "
               "field");
    if (!prefix.empty()) prefix += ':';
    tagged_.push_back({field, std::move(prefix)});
}

void event_codec::add_personal(capnp::StructSchema::Field field, std::string_view subject)
{
    std::optional<capnp::StructSchema::Field> of;
    if (!subject.empty()) {
        KJ_IF_MAYBE(found, schema_.findFieldByName(std::string{subject}.c_str()))
            of = *found;
        if (!of || !can_be_tag(of->getType()) || of->getType().isBool())
            throw error{errc::illegal_schema,
                        type_ + "." + std::string{name_of(field)} + " is personal to \"" +
                            std::string{subject} +
                            "\", which is no field of the struct with text, an integer or an "
                            "enum: name one, or leave the text empty for the stream's id"};
    }
    for (auto& p : personal_)
        if (p.subject.has_value() == of.has_value() &&
            (!of || p.subject->getIndex() == of->getIndex())) {
            p.fields.push_back(field);
            return;
        }
    personal_.push_back({of, {field}});
}

void event_codec::add_key(const field_path& field)
{
    if (!field.back().getType().isText())
        refuse(field, " is marked as the stream's id, and is no text: mark a text");
    if (is_annotated(field.back(), personal_annotation))
        refuse(field,
               " is personal, and marked as the stream's id, which is plain text: use an id "
               "that says nothing about the person");
    if (key_)
        refuse(field,
               " is marked as the stream's id, and so is " + name_of(*key_) + ": mark one of them");
    key_ = field;
}

std::optional<std::string> event_codec::key_of(const any_event& e) const
{
    if (!key_) return std::nullopt;
    message    opened{e.bytes()};
    const auto key = value_at(opened.opened().getRoot<capnp::DynamicStruct>(schema_), *key_);
    return key ? text_of(*key) : std::string{};
}

void event_codec::check_key(const any_event& e, const stream_id& stream) const
{
    if (const auto key = key_of(e); key && *key != stream.key)
        throw error{errc::illegal_stream_id,
                    type_ + "." + name_of(*key_) + " says \"" + *key +
                        "\", and the event is to be recorded in stream \"" + stream.key + "\" of " +
                        stream.topic + ": one of them is wrong"};
}

std::vector<std::string> event_codec::tags_of(const any_event& e) const
{
    std::vector<std::string> tags;
    if (tagged_.empty()) return tags;
    message    opened{e.bytes()};
    const auto root = opened.opened().getRoot<capnp::DynamicStruct>(schema_);
    for (const auto& [field, prefix] : tagged_) {
        const auto value = value_at(root, field);
        auto       text  = value ? text_of(*value) : std::string{};
        if (!text.empty()) tags.push_back(prefix + text);
    }
    return tags;
}

/// Puts what is personal into headers; returns the message without it.
std::string event_codec::seal(const any_event& e, const stream_id& stream, std::string_view id,
                              key_store* keys, std::vector<header>& sealed) const
{
    if (!keys)
        throw error{errc::missing_keys,
                    type_ + " has fields that are personal, and the event_store has no key_ring: "
                            "give it one in its options"};
    message                     opened{e.bytes()};
    const auto                  all = opened.opened().getRoot<capnp::DynamicStruct>(schema_);
    capnp::MallocMessageBuilder cleared;
    cleared.setRoot(all);
    auto rest = cleared.getRoot<capnp::DynamicStruct>(schema_);
    for (const auto& p : personal_) {
        capnp::MallocMessageBuilder secret;
        auto                        fields = secret.initRoot<capnp::DynamicStruct>(schema_);
        bool                        any    = false;
        for (const auto f : p.fields) {
            if (!all.has(f, capnp::HasMode::NON_DEFAULT)) continue;
            fields.set(f, all.get(f));
            rest.clear(f);
            any = true;
        }
        if (!any) continue;
        const auto subject = p.subject ? text_of(all.get(*p.subject)) : stream.key;
        if (subject.empty())
            throw error{errc::invalid_argument,
                        type_ + "." + std::string{name_of(p.fields.front())} +
                            " is personal, and the field that says whose is empty: set it"};
        sealed.push_back({std::string{personal_header},
                          keys->seal(subject, any_event{schema_, secret}.bytes(),
                                     std::string{id} + "\n" + data_schema_)});
    }
    // Built anew, so that no byte of what was cleared is carried along.
    capnp::MallocMessageBuilder plain;
    plain.setRoot(rest.asReader());
    return std::string{any_event{schema_, plain}.bytes()};
}

any_event event_codec::unsealed(const record_view& r, key_store* keys) const
{
    message                     opened{r.value.value_or(bytes_view{})};
    capnp::MallocMessageBuilder whole;
    whole.setRoot(opened.opened().getRoot<capnp::DynamicStruct>(schema_));
    if (keys) {
        auto       fields = whole.getRoot<capnp::DynamicStruct>(schema_);
        const auto id     = r.headers.find(header_names::id).value_or(bytes_view{});
        const auto schema = r.headers.find(header_names::data_schema).value_or(bytes_view{});
        const auto bound  = std::string{id} + "\n" + std::string{schema};
        for (const auto& h : r.headers) {
            if (h.name != personal_header || !h.value) continue;
            const auto plain = keys->open(*h.value, bound);
            if (!plain) continue;
            message    secret{*plain};
            const auto said = secret.opened().getRoot<capnp::DynamicStruct>(schema_);
            for (const auto& p : personal_)
                for (const auto f : p.fields)
                    if (said.has(f, capnp::HasMode::NON_DEFAULT)) fields.set(f, said.get(f));
        }
    }
    return any_event{schema_, whole};
}

record event_codec::record_of(const any_event& e, const stream_id& stream, version at,
                              const command_context& context, const std::string& source,
                              key_store* keys, std::size_t of_decision) const
{
    check_key(e, stream);
    const auto version_text = std::to_string(at.value);
    auto       id           = stream.topic + "/" + stream.key + "@" + version_text;

    record r;
    r.key = stream.key;
    r.headers.reserve(10);
    const auto put = [&](std::string_view name, std::string value) {
        r.headers.push_back({std::string{name}, std::move(value)});
    };
    put(header_names::data_schema, data_schema_);
    if (personal_.empty())
        r.value = std::string{e.bytes()};
    else
        r.value = seal(e, stream, id, keys, r.headers);
    put(header_names::type, type_);
    if (auto tags = tags_of(e); !tags.empty()) put(header_names::tags, join_tags(tags));
    put(header_names::id, std::move(id));
    put(header_names::source, source);
    put(header_names::spec_version, "1.0");
    put(header_names::content_type, "application/capnp");
    put(header_names::stream_version, version_text);
    if (of_decision > 1) put(decision_header, std::to_string(of_decision));
    if (context.correlation_id) put(header_names::correlation_id, *context.correlation_id);
    if (context.causation_id) put(header_names::causation_id, *context.causation_id);
    if (context.trace_parent) put(header_names::trace_parent, *context.trace_parent);
    return r;
}

}  // namespace cairn::detail
