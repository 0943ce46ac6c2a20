// SPDX-License-Identifier: Apache-2.0
//
// What two versions of a struct have in common is found field by field. The fields of groups and
// unions share the ordinals and the space of the struct that they are in, so they are laid out in
// one list first, each with the unions that it is a member of.
#include <cairn/framework/schema.hpp>

#include "schema_tree.hpp"

#include <capnp/any.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace cairn {

namespace {

using kind = schema_change::kind;

struct leaf
{
    capnp::StructSchema::Field field;
    std::string                path;
    /// Where each union around it has its discriminant, and what stands there for this member.
    std::vector<std::pair<std::uint32_t, std::uint16_t>> unions;
};

using leaves = std::map<unsigned, leaf>;  // by ordinal

void lay_out(capnp::StructSchema schema, const leaf& around, leaves& all)
{
    const auto proto = schema.getProto().getStruct();
    for (const auto field : schema.getFields()) {
        leaf one{field, around.path + detail::text_of(field.getProto().getName()), around.unions};
        if (const auto member = field.getProto().getDiscriminantValue();
            member != capnp::schema::Field::NO_DISCRIMINANT)
            one.unions.emplace_back(proto.getDiscriminantOffset(), member);
        if (field.getProto().isGroup()) {
            one.path += '.';
            lay_out(field.getType().asStruct(), one, all);
        } else if (field.getProto().getOrdinal().isExplicit()) {
            const unsigned ordinal = field.getProto().getOrdinal().getExplicit();
            all.emplace(ordinal, std::move(one));
        }
    }
}

leaves leaves_of(capnp::StructSchema schema)
{
    leaves all;
    lay_out(schema, {}, all);
    return all;
}

bool same_value(capnp::schema::Value::Reader a, capnp::schema::Value::Reader b)
{
    return capnp::AnyStruct::Reader{a} == capnp::AnyStruct::Reader{b};
}

/// The annotations of a field, one line each: the tags, or all others.
std::vector<std::string> annotations_of(capnp::schema::Field::Reader field, bool tags)
{
    std::vector<std::string> all;
    for (const auto a : field.getAnnotations())
        if ((a.getId() == detail::tag_annotation) == tags)
            all.push_back(detail::annotation_text(a));
    std::ranges::sort(all);
    return all;
}

std::string joined(const std::vector<std::string>& lines)
{
    std::string all;
    for (const auto& line : lines) all += (all.empty() ? "" : " ") + line;
    return all.empty() ? "no annotation" : all;
}

std::string at(unsigned ordinal)
{
    return "@" + std::to_string(ordinal);
}

class comparison
{
public:
    std::vector<schema_change> changes;

    void structs(capnp::StructSchema old, capnp::StructSchema now)
    {
        if (!seen_.emplace(old.getProto().getId(), now.getProto().getId()).second) return;
        const std::string type{detail::short_name(old)};
        names(type, old, now);

        const auto before = leaves_of(old), after = leaves_of(now);
        for (const auto& [ordinal, was] : before) {
            const auto here   = after.find(ordinal);
            const auto called = find(after, was.path);
            if (here != after.end() && here->second.path == was.path) {
                fields(type, was, here->second);
            } else if (called != after.end()) {
                say(kind::field_moved, type, was.path,
                    "was " + at(ordinal) + " and is " + at(called->first));
            } else if (here != after.end() && find(before, here->second.path) == before.end()) {
                say(kind::field_renamed, type, was.path, "is called " + here->second.path + " now");
                fields(type, was, here->second);
            } else {
                say(kind::field_removed, type, was.path, "was " + at(ordinal) + " and is gone");
            }
        }
        for (const auto& [ordinal, is] : after)
            if (!before.contains(ordinal) && find(before, is.path) == before.end())
                say(kind::field_added, type, is.path,
                    "is new, " + at(ordinal) + " :" + detail::type_text(is.field.getType()));

        const auto had = old.getProto().getStruct(), has = now.getProto().getStruct();
        if (has.getDataWordCount() < had.getDataWordCount() ||
            has.getPointerCount() < had.getPointerCount())
            say(kind::struct_shrunk, type, "",
                "had " + size_text(had) + " and has " + size_text(has));
    }

    /// After structs(): of the type as a whole, with what it uses.
    void versions(capnp::StructSchema old, capnp::StructSchema now)
    {
        const auto said = [](std::optional<std::uint32_t> v) {
            return v ? "version " + std::to_string(*v) : std::string{"no version"};
        };
        const auto        had = detail::version_of(old), has = detail::version_of(now);
        const std::string type{detail::short_name(old)};
        if (had != has)
            say(kind::version_changed, type, "", "had " + said(had) + " and has " + said(has));
        else if (has && !changes.empty())
            say(kind::version_kept, type, "", "changed and still says " + said(has) + ": raise it");
    }

private:
    static leaves::const_iterator find(const leaves& all, const std::string& path)
    {
        return std::ranges::find_if(all, [&](const auto& l) { return l.second.path == path; });
    }

    static std::string size_text(capnp::schema::Node::Struct::Reader s)
    {
        return std::to_string(s.getDataWordCount()) + " words of data and " +
               std::to_string(s.getPointerCount()) + " pointers";
    }

    void say(kind what, std::string type, std::string field, std::string text)
    {
        changes.push_back({what, std::move(type), std::move(field), std::move(text)});
    }

    void names(const std::string& type, capnp::Schema old, capnp::Schema now)
    {
        if (const auto called = detail::short_name(now); called != type)
            say(kind::type_renamed, type, "", "is called " + std::string{called} + " now");
        else if (old.getProto().getId() != now.getProto().getId())
            say(kind::type_renamed, type, "",
                "had the id " + detail::id_text(old.getProto().getId()) + " and has " +
                    detail::id_text(now.getProto().getId()));
    }

    void fields(const std::string& type, const leaf& was, const leaf& is)
    {
        const auto old = was.field.getProto(), now = is.field.getProto();
        if (!same_type(was.field.getType(), is.field.getType()))
            say(kind::type_changed, type, was.path,
                "was " + detail::type_text(was.field.getType()) + " and is " +
                    detail::type_text(is.field.getType()));
        else if (old.getSlot().getOffset() != now.getSlot().getOffset())
            say(kind::field_moved, type, was.path,
                "was at " + std::to_string(old.getSlot().getOffset()) +
                    " of the message and is at " + std::to_string(now.getSlot().getOffset()));
        else if (!same_value(old.getSlot().getDefaultValue(), now.getSlot().getDefaultValue()))
            say(kind::default_changed, type, was.path,
                "was " + detail::value_text(old.getSlot().getDefaultValue(), was.field.getType()) +
                    " where it is not set, and is " +
                    detail::value_text(now.getSlot().getDefaultValue(), is.field.getType()));
        if (was.unions != is.unions)
            say(kind::union_changed, type, was.path,
                was.unions.empty()  ? "was in no union and is in one"
                : is.unions.empty() ? "was in a union and is in none"
                                    : "has another place in its union");

        for (const bool tags : {true, false}) {
            const auto had = annotations_of(old, tags), has = annotations_of(now, tags);
            if (had != has)
                say(tags ? kind::tag_changed : kind::annotation_changed, type, was.path,
                    "had " + joined(had) + " and has " + joined(has) +
                        (tags ? "; old events keep the tags that they have" : ""));
        }
    }

    /// Structs and enums are the same type here where one is the other's newer version: what is
    /// different inside of them is said of them.
    bool same_type(capnp::Type old, capnp::Type now)
    {
        if (old.which() != now.which()) return false;
        if (old.isList())
            return same_type(old.asList().getElementType(), now.asList().getElementType());
        if (old.isStruct()) structs(old.asStruct(), now.asStruct());
        if (old.isEnum()) enums(old.asEnum(), now.asEnum());
        return true;
    }

    void enums(capnp::EnumSchema old, capnp::EnumSchema now)
    {
        if (!seen_.emplace(old.getProto().getId(), now.getProto().getId()).second) return;
        const std::string type{detail::short_name(old)};
        names(type, old, now);

        const auto had = old.getEnumerants(), has = now.getEnumerants();
        for (unsigned i = 0; i < had.size(); ++i) {
            const auto word = detail::text_of(had[i].getProto().getName());
            if (i < has.size() && detail::text_of(has[i].getProto().getName()) == word) continue;
            KJ_IF_MAYBE (elsewhere, now.findEnumerantByName(word)) {
                say(kind::enumerant_changed, type, word,
                    "was " + at(i) + " and is " + at(elsewhere->getOrdinal()));
            } else if (i < has.size()) {
                say(kind::enumerant_changed, type, word,
                    "is called " + detail::text_of(has[i].getProto().getName()) + " now");
            } else {
                say(kind::enumerant_changed, type, word, "was " + at(i) + " and is gone");
            }
        }
        for (auto i = had.size(); i < has.size(); ++i)
            say(kind::enumerant_added, type, detail::text_of(has[i].getProto().getName()),
                "is new, " + at(i));
    }

    std::set<std::pair<std::uint64_t, std::uint64_t>> seen_;
};

}  // namespace

std::string_view name(schema_change::kind what) noexcept
{
    switch (what) {
    case kind::field_added:
        return "field_added";
    case kind::field_renamed:
        return "field_renamed";
    case kind::type_renamed:
        return "type_renamed";
    case kind::enumerant_added:
        return "enumerant_added";
    case kind::annotation_changed:
        return "annotation_changed";
    case kind::tag_changed:
        return "tag_changed";
    case kind::version_changed:
        return "version_changed";
    case kind::field_removed:
        return "field_removed";
    case kind::field_moved:
        return "field_moved";
    case kind::type_changed:
        return "type_changed";
    case kind::default_changed:
        return "default_changed";
    case kind::union_changed:
        return "union_changed";
    case kind::enumerant_changed:
        return "enumerant_changed";
    case kind::struct_shrunk:
        return "struct_shrunk";
    case kind::version_kept:
        return "version_kept";
    }
    return "unknown";
}

std::vector<schema_change> compare(capnp::StructSchema old, capnp::StructSchema now)
{
    comparison c;
    c.structs(old, now);
    c.versions(old, now);
    return std::move(c.changes);
}

bool breaks(const std::vector<schema_change>& changes) noexcept
{
    return std::ranges::any_of(changes, &schema_change::breaking);
}

}  // namespace cairn
