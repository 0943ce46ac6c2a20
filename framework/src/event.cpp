// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/event.hpp>

#include <cairn/framework/detail/message.hpp>
#include <cairn/framework/detail/names.hpp>

#include <capnp/any.h>
#include <capnp/compat/json.h>
#include <capnp/dynamic.h>

#include <cstring>

namespace cairn {

namespace {

constexpr auto word_bytes = sizeof(capnp::word);

/// Behind the framing of a message of one segment: its number less one, and its size in words.
std::string framed(kj::ArrayPtr<const capnp::word> segment)
{
    const std::uint32_t header[2] = {0, static_cast<std::uint32_t>(segment.size())};
    std::string         bytes;
    bytes.resize(sizeof header + segment.size() * word_bytes);
    std::memcpy(bytes.data(), header, sizeof header);
    std::memcpy(bytes.data() + sizeof header, segment.begin(), segment.size() * word_bytes);
    return bytes;
}

}  // namespace

any_event::any_event(capnp::StructSchema schema, capnp::MessageBuilder& filled) : schema_{schema}
{
    const auto segments = filled.getSegmentsForOutput();
    if (segments.size() == 1) {
        bytes_ = framed(segments[0]);
        return;
    }
    std::size_t words = 0;
    for (const auto& s : segments) words += s.size();
    capnp::MallocMessageBuilder one{static_cast<unsigned>(words)};
    one.setRoot(filled.getRoot<capnp::AnyPointer>().asReader());
    bytes_ = framed(one.getSegmentsForOutput()[0]);
}

std::string_view any_event::type_name() const noexcept
{
    return detail::short_name(schema_);
}

std::string any_event::json() const
{
    detail::message  opened;
    capnp::JsonCodec codec;
    const auto       text = codec.encode(
        opened.open(bytes_).getRoot<capnp::DynamicStruct>(schema_));
    return {text.begin(), text.size()};
}

bool operator==(const any_event& a, const any_event& b)
{
    if (a.type_id() != b.type_id()) return false;
    if (a.bytes_ == b.bytes_) return true;
    detail::message first, second;
    return first.open(a.bytes_).getRoot<capnp::AnyStruct>() ==
           second.open(b.bytes_).getRoot<capnp::AnyStruct>();
}

}  // namespace cairn
