// SPDX-License-Identifier: Apache-2.0
//
// What has happened: a Cap'n Proto struct, built once and never changed.
#pragma once

#include <cairn/framework/detail/message.hpp>

#include <cairn/log/ids.hpp>
#include <cairn/log/record.hpp>

#include <capnp/message.h>
#include <capnp/schema.h>

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace cairn {

// clang-format off

/// A struct of a .capnp file.
template <class E>
concept event_struct = requires {
    typename E::Reader;
    typename E::Builder;
    { capnp::typeId<E>() } -> std::convertible_to<std::uint64_t>;
};

// clang-format on

template <event_struct E>
class event;

/// One event of some type: the type, and the message as it is recorded.
///
/// Invariants
///   - The message is one segment behind its eight bytes of framing: what `capnp decode` reads.
///
/// Threads   const from any thread.
/// Lifetime  A value; bytes() lives as long as it does.
/// Errors    None.
class any_event
{
public:
    /// What `filled` holds, made one segment. REQUIRES: its root is of that type.
    any_event(capnp::StructSchema schema, capnp::MessageBuilder& filled);

    /// A message as bytes() gives it. REQUIRES: it is of that type.
    any_event(capnp::StructSchema schema, bytes_view bytes) : schema_{schema}, bytes_{bytes} {}

    /// The type's 64-bit Cap'n Proto id: what identifies it on disk, whatever it is called.
    std::uint64_t       type_id() const noexcept { return schema_.getProto().getId(); }
    capnp::StructSchema schema() const noexcept { return schema_; }

    /// What the type is called in its .capnp file, as "ItemAdded".
    std::string_view type_name() const noexcept;

    bytes_view bytes() const noexcept { return bytes_; }

    /// Where it is an E: if (const auto e = any.as<ItemAdded>()) e->read()->getSku();
    template <event_struct E>
    std::optional<event<E>> as() const;

    /// The fields that are set, as JSON on one line.
    std::string json() const;

    /// The same type, and the same in every field.
    friend bool operator==(const any_event& a, const any_event& b);

private:
    capnp::StructSchema schema_;
    std::string         bytes_;
};

/// An event of type E, that is about to be recorded or is expected in a test.
///
///     event<ItemAdded>{[&](auto e) { e.setSku("lamp"); e.setQuantity(2); }}
template <event_struct E>
class event : public any_event
{
public:
    /// REQUIRES: it is of that type.
    explicit event(const any_event& of_type) : any_event{of_type} {}

    /// All fields at their defaults.
    event() : event{[](typename E::Builder) {}} {}

    /// `fill` sets the fields that are to be set.
    template <std::invocable<typename E::Builder> Fill>
    explicit event(Fill&& fill) : event{std::forward<Fill>(fill), first_segment{}}
    {
    }

    /// The fields, in an expression: e.read()->getSku(), state.apply(e.read()).
    class reading
    {
    public:
        explicit reading(const event& e) : message_{e.bytes()}, fields_{root()} {}

        operator typename E::Reader() const { return fields_; }
        const typename E::Reader* operator->() const { return &fields_; }

    private:
        typename E::Reader root() { return message_.opened().template getRoot<E>(); }

        detail::message    message_;
        typename E::Reader fields_;
    };
    reading read() const { return reading{*this}; }

private:
    /// Most events fit; a larger one takes more segments, which are then made one.
    struct first_segment
    {
        capnp::word words[128] = {};
    };

    struct filled
    {
        template <class Fill>
        filled(Fill& fill, first_segment& room) : message{kj::arrayPtr(room.words, 128)}
        {
            fill(message.initRoot<E>());
        }
        capnp::MallocMessageBuilder message;
    };

    template <class Fill>
    event(Fill&& fill, first_segment&& room) : event{filled{fill, room}}
    {
    }
    explicit event(filled&& f) : any_event{capnp::Schema::from<E>(), f.message} {}
};

template <event_struct E>
std::optional<event<E>> any_event::as() const
{
    if (type_id() != capnp::typeId<E>()) return std::nullopt;
    return event<E>{*this};
}

template <class... Events>
struct event_list
{
    template <class E>
    static constexpr bool has = (std::is_same_v<E, Events> || ...);

    static constexpr std::size_t size = sizeof...(Events);
};

}  // namespace cairn
