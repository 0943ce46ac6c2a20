// SPDX-License-Identifier: Apache-2.0
//
// schema: the types of events that a log knows, and what a change of them would break.
#include "capnp_file.hpp"
#include "json.hpp"
#include "moment.hpp"
#include "record_printer.hpp"
#include "session.hpp"
#include "table.hpp"
#include "text.hpp"

#include <cairn/framework/schema.hpp>

#include <algorithm>
#include <charconv>
#include <optional>

namespace cairn::cli {

namespace {

struct schema_options : common_options
{
    std::string              name;
    std::string              old_file;
    std::string              new_file;
    std::vector<std::string> imports;
};

/// "capnp:d1a6f3c2b4e59870", as ce_dataschema says it.
std::string id_of(std::uint64_t type_id)
{
    constexpr char digits[] = "0123456789abcdef";
    std::string    text     = "capnp:";
    for (int shift = 60; shift >= 0; shift -= 4) text += digits[type_id >> shift & 15];
    return text;
}

std::optional<std::uint64_t> parse_id(std::string_view text)
{
    for (const std::string_view prefix : {"capnp:", "@0x", "0x"}) {
        if (!text.starts_with(prefix)) continue;
        text.remove_prefix(prefix.size());
        std::uint64_t id  = 0;
        const auto    end = text.data() + text.size();
        const auto    at  = std::from_chars(text.data(), end, id, 16);
        if (at.ptr == end && at.ec == std::errc{}) return id;
    }
    return std::nullopt;
}

/// What it is called. A schema in a log may say anything of the length of a name's beginning.
std::string short_name(capnp::StructSchema schema)
{
    const std::string name = schema.getProto().getDisplayName().cStr();
    return name.substr(
        std::min<std::size_t>(name.size(), schema.getProto().getDisplayNamePrefixLength()));
}

std::string version_text(const registered_schema& known)
{
    return known.version ? std::to_string(*known.version) : "-";
}

void write_members(json_writer& json, const registered_schema& known)
{
    json.field("type", std::string_view{known.name})
        .field("id", std::string_view{id_of(known.type_id)});
    json.field("version", known.version).name("fields").begin_array();
    for (const auto field : known.schema.getFields()) json.value(field.getProto().getName().cStr());
    json.end_array();
    json.field("since", std::string_view{as_iso_time(known.since)});
    json.field("updated", std::string_view{as_iso_time(known.updated)});
    json.field("position", known.position.value).field("file", std::string_view{known.file});
}

std::vector<json_field> schema_fields()
{
    return {{"type", "The name of the type."},
            {"id", "Its id, as the header ce_dataschema of its events has it."},
            {"version", "What $Cairn.version says, or null."},
            {"fields", "An array of the names of its fields."},
            {"since", "When it was first registered."},
            {"updated", "When it was registered as it is now."},
            {"position", "Where in the log that is."},
            {"file", "The file that it was compiled from."}};
}

// ---- list and show. -------------------------------------------------------------------------

int list(const schema_options& o, session& s)
{
    const auto log = s.open_to_read(o);
    const auto all = schema_registry{log}.list();

    table t{{"TYPE", "ID", "VERSION >", "FIELDS >", "SINCE", "UPDATED", "POSITION >", "FILE"}};
    for (const auto& known : all) {
        if (!o.json()) {
            t.row({known.name, id_of(known.type_id), version_text(known),
                   std::to_string(known.schema.getFields().size()), as_iso_time(known.since),
                   as_iso_time(known.updated), std::to_string(known.position.value), known.file});
            continue;
        }
        std::string line;
        json_writer json{line};
        json.begin_object();
        write_members(json, known);
        json.end_object();
        s.out().write(line + '\n');
    }
    if (o.json()) return 0;
    if (t.empty())
        s.note("no types of events are registered: a program registers those that it records");
    else
        t.print(s.out());
    return 0;
}

int show(const schema_options& o, session& s)
{
    const auto            log = s.open_to_read(o);
    const schema_registry schemas{log};
    const auto            id    = parse_id(o.name);
    const auto            known = id ? schemas.find(*id) : schemas.find(std::string_view{o.name});
    if (!known)
        throw failure{"unknown_schema", "no type '" + printable(o.name) +
                                            "' is registered; 'cairn schema list' shows those "
                                            "that are"};
    if (o.json()) {
        std::string line;
        json_writer json{line};
        json.begin_object();
        write_members(json, *known);
        json.field("text", std::string_view{capnp_text(known->schema)}).end_object();
        s.out().write(line + '\n');
        return 0;
    }
    const auto version = known->version ? ", version " + version_text(*known) : std::string{};
    s.out().write("# " + printable(known->file) + version + ", registered " +
                  as_iso_time(known->updated) + " at position " +
                  std::to_string(known->position.value) + "\n\n");
    s.out().write(capnp_text(known->schema));
    return 0;
}

// ---- check. ---------------------------------------------------------------------------------

/// One line of what check prints.
struct finding
{
    bool        breaking = false;
    std::string what;
    std::string type;
    std::string field;
    std::string text;

    friend bool operator==(const finding&, const finding&) = default;
};

class findings
{
public:
    void compare(capnp::StructSchema old, capnp::StructSchema now)
    {
        ++compared_;
        if (old.getProto().getId() != now.getProto().getId())
            add({true, "id_changed", short_name(old), "",
                 "had the id " + id_of(old.getProto().getId()) + " and has " +
                     id_of(now.getProto().getId()) +
                     ": its events are found by it; write it behind the name, as @0x…"});
        for (auto& c : cairn::compare(old, now)) {
            const bool is_id =
                c.what == schema_change::kind::type_renamed && c.text.starts_with("had the id");
            if (!is_id) add({c.breaking(), std::string{name(c.what)}, c.type, c.field, c.text});
        }
    }

    void gone(capnp::StructSchema old)
    {
        add({true, "type_removed", short_name(old), "", "is gone: its events can be read no more"});
    }

    int print(const schema_options& o, session& s) const
    {
        table t{{"", "WHERE", "WHAT"}};
        for (const auto& f : all_) {
            const auto where = f.field.empty() ? f.type : f.type + '.' + f.field;
            if (!o.json()) {
                t.row({f.breaking ? "!" : "", where, f.text});
                continue;
            }
            std::string line;
            json_writer json{line};
            json.begin_object()
                .field("breaking", f.breaking)
                .field("change", std::string_view{f.what});
            json.field("type", std::string_view{f.type}).field("field", std::string_view{f.field});
            json.field("text", std::string_view{f.text}).end_object();
            s.out().write(line + '\n');
        }
        if (!t.empty()) t.print(s.out());
        s.out().flush();

        const auto bad =
            static_cast<std::uint64_t>(std::ranges::count(all_, true, &finding::breaking));
        if (bad > 0)
            throw failure{"incompatible_schema",
                          "a program would be refused for " + counted(bad, "change") +
                              ", marked !: leave what is there as it was, add a field at the end, "
                              "and raise the version where there is one"};
        s.note(counted(compared_, "type") +
               " compared; events that are recorded can be read as "
               "before");
        return 0;
    }

private:
    /// What a struct uses is compared with it, and by itself.
    void add(finding f)
    {
        if (std::ranges::find(all_, f) == all_.end()) all_.push_back(std::move(f));
    }

    std::vector<finding> all_;
    std::uint64_t        compared_ = 0;
};

int check(const schema_options& o, session& s)
{
    if (!o.new_file.empty() && !o.data.empty())
        throw usage_error{"--data says what to compare a file with: give it or a second file"};

    const capnp_file first{o.old_file, o.imports};
    findings         found;
    if (o.new_file.empty()) {
        const auto            log = s.open_to_read(o);
        const schema_registry schemas{log};
        for (const auto now : first.structs()) {
            auto known = schemas.find(now.getProto().getId());
            if (!known) known = schemas.find(std::string_view{short_name(now)});
            if (known) found.compare(known->schema, now);
        }
        return found.print(o, s);
    }
    const capnp_file second{o.new_file, o.imports};
    for (const auto old : first.structs()) {
        const auto& now   = second.structs();
        auto        match = std::ranges::find_if(now, [&](capnp::StructSchema n) {
            return n.getProto().getId() == old.getProto().getId();
        });
        if (match == now.end())
            match = std::ranges::find_if(
                now, [&](capnp::StructSchema n) { return short_name(n) == short_name(old); });
        if (match == now.end())
            found.gone(old);
        else
            found.compare(old, *match);
    }
    return found.print(o, s);
}

}  // namespace

void add_schema(command& root)
{
    auto& schema = root.add("schema", "List the types of events, show them, and check changes");
    schema.text(
        "A program that records events registers their types in the log. From then on the log can "
        "be read without the program: 'cairn consume', 'cairn stream' and 'cairn query' print its "
        "events as JSON.");
    {
        auto  o = std::make_shared<schema_options>();
        auto& c = schema.add("list", "List the types that are registered");
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object per type", schema_fields());
        c.shows("cairn schema list", "All types of events, and since when.");
        c.does([o](session& s) { return list(*o, s); });
    }
    {
        auto  o = std::make_shared<schema_options>();
        auto& c = schema.add("show", "Show a type as a .capnp file says it");
        c.argument("TYPE", o->name, "Its name, or its id: capnp:…, 0x… or @0x….");
        add_data_option(c, *o);
        add_format_option(c, *o);
        auto fields = schema_fields();
        fields.push_back({"text", "The type as a .capnp file says it."});
        c.json("one object", std::move(fields));
        c.shows("cairn schema show OrderPlaced", "Its fields, and what they use.");
        c.shows("cairn schema show capnp:d1a6f3c2b4e59870",
                "By the id that a record's ce_dataschema has.");
        c.does([o](session& s) { return show(*o, s); });
    }
    {
        auto  o = std::make_shared<schema_options>();
        auto& c = schema.add("check", "Say what a change of a .capnp file would break");
        c.text(
            "With two files, compares each struct of the old one with that of the same id, or the "
            "same name, in the new one. With one, compares its structs with those that the log "
            "has registered.");
        c.text(
            "Ends with 1 where a change breaks events that are recorded: a field that is removed, "
            "moved or of another type, another default, a union's members, an enumerant. What is "
            "added, and what is only called otherwise, breaks none. A struct with $Cairn.version "
            "that changed in any way has to say another one.");
        c.argument("FILE", o->old_file, "The old file; the new one, where there is only one.")
            .completes                                                     = completion::file;
        c.optional_argument("NEW", o->new_file, "The new file.").completes = completion::file;
        c.values("-I,--import-path", "DIR", o->imports,
                 "Where absolute imports are looked for; may be repeated.")
            .completes = completion::folder;
        add_data_option(c, *o);
        add_format_option(c, *o);
        c.json("one object per change",
               {{"breaking", "Whether a program with it would be refused."},
                {"change", "What kind it is, such as field_removed."},
                {"type", "The struct or enum."},
                {"field", "The field or enumerant; empty: the type itself."},
                {"text", "What it was, and what it is."}});
        c.shows("cairn schema check order.capnp --data ./data",
                "Would the program still read what the log has?");
        c.shows("cairn schema check old/order.capnp order.capnp",
                "Two files, as a build would before it lets a change pass.");
        c.does([o](session& s) { return check(*o, s); });
    }
}

}  // namespace cairn::cli
