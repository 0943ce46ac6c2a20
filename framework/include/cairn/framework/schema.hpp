// SPDX-License-Identifier: Apache-2.0
//
// What the types of events look like, kept in the log beside them.
#pragma once

#include <cairn/log/commit_log.hpp>

#include <capnp/schema.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn {

/// One difference between two versions of a struct.
struct schema_change
{
    enum class kind
    {
        field_added,
        field_renamed,
        type_renamed,        ///< of a struct or enum, or its id; what it holds is the same
        enumerant_added,
        annotation_changed,
        tag_changed,         ///< fine, and a warning: old events keep the tags that they have
        version_changed,     ///< that $Cairn.version says
        // What is refused: it breaks the events that there are, or passes for what it is not.
        field_removed,
        field_moved,         ///< to another ordinal, or another place in the message
        type_changed,
        default_changed,     ///< old events that left the field out would say something else
        union_changed,       ///< the field went into a union, or out of it
        enumerant_changed,   ///< removed, renamed or moved
        struct_shrunk,
        version_kept,        ///< something else changed, and $Cairn.version did not
    };

    kind        what;
    std::string type;   ///< "OrderPlaced"
    std::string field;  ///< "address.street", or the enumerant; empty: the type itself
    std::string text;   ///< a sentence: what it was, what it is

    bool breaking() const noexcept { return what >= kind::field_removed; }

    /// "OrderPlaced.address.street"
    std::string where() const { return field.empty() ? type : type + "." + field; }
};

/// The name of a kind that never changes, as "field_removed".
std::string_view name(schema_change::kind what) noexcept;

/// What is different, also in the structs and enums that it uses. A field is the same field where
/// it has the same ordinal and the same name, or the same ordinal and no other has its name.
std::vector<schema_change> compare(capnp::StructSchema old, capnp::StructSchema now);

bool breaks(const std::vector<schema_change>& changes) noexcept;

/// As a .capnp file says it, with the structs and enums that it uses.
std::string capnp_text(capnp::StructSchema schema);

/// A type of events as the log knows it.
struct registered_schema
{
    std::uint64_t    type_id = 0;
    std::string      name;      ///< "OrderPlaced"
    std::string      file;      ///< that it was compiled from: "order.capnp"
    cairn::timestamp since;     ///< when the type was first registered
    cairn::timestamp updated;   ///< when it was registered as it is now
    cairn::position  position;  ///< of the record that holds it

    std::optional<std::uint32_t> version;  ///< as $Cairn.version says

    capnp::StructSchema         schema;  ///< good as long as `keeps` is
    std::shared_ptr<const void> keeps;
};

/// The schemas of the events of a log, in the log: so that whoever has the log can read them, and
/// a program whose types would break them is told before it records anything.
///
///     cairn::schema_registry schemas{log};
///     schemas.add(capnp::Schema::from<OrderPlaced>());
///     for (const auto& r : log.read_all())
///         if (auto json = schemas.json(r)) std::cout << *json << '\n';
///
/// Each is a record of the compacted topic __schemas: its key is "capnp:" and the type's id in
/// sixteen hex digits, its value a message of capnp/schema.capnp's CodeGeneratorRequest, whose
/// first node is the type and the others what it uses.
///
/// Invariants
///   - What is registered reads every event that was recorded under what was registered before.
///   - A registered schema is only replaced by a newer one; an older program leaves it.
///   - A type that says its version has changed only where it says another one.
///   - json() reads no byte outside of the value, follows pointers 64 deep at most, and gives up
///     where the text would be out of proportion: 2^20 values, or 16 MiB.
///
/// Threads   Any. Copies share what they have read.
/// Lifetime  Keeps the log open.
/// Errors    add(): error{incompatible_schema}, and what append() throws. A program that has
///           left out only the newest fields of a type looks like one from before they were
///           added, and is taken for that unless $Cairn.version says otherwise; compare() tells.
///           A schema in the log that does not read is as if it were not there.
class schema_registry
{
public:
    static constexpr const char* topic = "__schemas";

    explicit schema_registry(commit_log log);

    /// Writes it where the log has none, or an older one. Where it is there: reads only. In a log
    /// that is opened to read only nothing is written, and what would be refused is refused.
    void add(capnp::StructSchema schema);

    /// As many in one append: all, or none.
    void add(std::span<const capnp::StructSchema> schemas);

    /// All, by name.
    std::vector<registered_schema> list() const;

    std::optional<registered_schema> find(std::uint64_t type_id) const;

    /// By the short name; the one registered last, where several have it.
    std::optional<registered_schema> find(std::string_view name) const;

    /// That of a record: by its ce_dataschema or, where it has none, its ce_type.
    std::optional<registered_schema> find(const record_view& event) const;

    /// The event as JSON on one line, without control characters; nullopt where its type is not
    /// known, or the value is no message of it. Throws nothing of its own, whatever the bytes are.
    std::optional<std::string> json(const record_view& event) const;

private:
    struct impl;
    std::shared_ptr<impl> impl_;
};

}  // namespace cairn
