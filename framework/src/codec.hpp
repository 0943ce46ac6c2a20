// SPDX-License-Identifier: Apache-2.0
//
// Events as records, and back.
#pragma once

#include "key_store.hpp"

#include <cairn/framework/envelope.hpp>
#include <cairn/framework/event.hpp>

#include <cairn/log/append.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::detail {

/// What a record says of its event's type. Views into the record.
struct event_type
{
    std::optional<std::uint64_t> id;    ///< from ce_dataschema
    std::string_view             name;  ///< ce_type
    bool                         personal = false;  ///< some of it is sealed

    bool is(capnp::StructSchema schema) const noexcept;

    /// "ItemAdded (capnp:d1a6f3c2b4e59870)", of what there is.
    std::string text() const;
};

event_type event_type_of(const record_view& r);

/// How many events were decided together with this one; this is the first of them.
std::size_t records_in_decision(const record_view& r);

/// "capnp:" and the type's id: what ce_dataschema says, and what queries ask for.
std::string data_schema_of(capnp::StructSchema schema);
std::string data_schema_of(std::uint64_t type_id);

/// Whether a struct, or one inside of it, has a field marked $Cairn.personal.
bool has_personal(capnp::StructSchema schema);

/// Makes the records of one type of events.
///
/// Threads   const from any thread.
/// Errors    error{illegal_schema} where an annotation cannot be followed.
class event_codec
{
public:
    explicit event_codec(capnp::StructSchema schema);

    /// The tags that the schema's annotations give the event.
    std::vector<std::string> tags_of(const any_event& e) const;

    /// What the event's field $Cairn.key says; nullopt where the type has none.
    std::optional<std::string> key_of(const any_event& e) const;

    /// The first of `of_decision` events says how many they are. `keys` may be null where nothing
    /// of the type is personal; else error{missing_keys}. Throws illegal_stream_id where the event
    /// names another stream than that.
    record record_of(const any_event& e, const stream_id& stream, version at,
                     const command_context& context, const std::string& source,
                     key_store* keys, std::size_t of_decision) const;

    /// The event as it was, as far as the keys are there.
    any_event unsealed(const record_view& r, key_store* keys) const;

private:
    /// A field of the struct: the groups that it is in, and itself.
    using field_path = std::vector<capnp::StructSchema::Field>;
    struct tagged_field
    {
        field_path  field;
        std::string prefix;  ///< "" or "customer:"
    };
    /// What is personal about one subject.
    struct personal_fields
    {
        std::optional<capnp::StructSchema::Field> subject;  ///< none: the stream's id
        std::vector<capnp::StructSchema::Field>   fields;
    };

    [[noreturn]] void refuse(const field_path& field, const std::string& why) const;

    void        add_fields(capnp::StructSchema of, const field_path& groups);
    void        add_tag(const field_path& field, std::string prefix);
    void        add_key(const field_path& field);
    void        refuse_inside(const field_path& field) const;
    void        check_key(const any_event& e, const stream_id& stream) const;
    void        add_personal(capnp::StructSchema::Field field, std::string_view subject);
    std::string seal(const any_event& e, const stream_id& stream, std::string_view id,
                     key_store* keys, std::vector<header>& sealed) const;

    capnp::StructSchema          schema_;
    std::string                  data_schema_;
    std::string                  type_;
    std::vector<tagged_field>    tagged_;
    std::vector<personal_fields> personal_;

    std::optional<field_path> key_;
};

}  // namespace cairn::detail
