// SPDX-License-Identifier: Apache-2.0
#include "schema_tree.hpp"

#include <cairn/framework/detail/message.hpp>

#include <capnp/message.h>
#include <capnp/pretty-print.h>
#include <capnp/serialize.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <string_view>

namespace cairn {

namespace detail {

namespace {

using capnp::schema::Type;

struct known_annotation
{
    std::uint64_t    id;
    std::string_view name;
    void (*declare)(capnp::schema::Node::Annotation::Builder as);
};

void of_field_with_text(capnp::schema::Node::Annotation::Builder as)
{
    as.initType().setText();
    as.setTargetsField(true);
}

void of_field(capnp::schema::Node::Annotation::Builder as)
{
    as.initType().setVoid();
    as.setTargetsField(true);
}

void of_struct_with_number(capnp::schema::Node::Annotation::Builder as)
{
    as.initType().setUint32();
    as.setTargetsStruct(true);
}

/// Those of schema/cairn/event.capnp. Compiled code does not have them.
constexpr std::array<known_annotation, 4> known_annotations{
    {{tag_annotation, "tag", of_field_with_text},
     {personal_annotation, "personal", of_field_with_text},
     {key_annotation, "key", of_field},
     {version_annotation, "version", of_struct_with_number}}};

std::string quoted(std::string_view text)
{
    std::string all{'"'};
    for (const char c : text) {
        if (c == '"' || c == '\\') all += '\\';
        all += c == '\n' ? ' ' : c;
    }
    return all + '"';
}

std::string of_kj(const kj::String& text)
{
    return {text.begin(), text.size()};
}

/// Walks over types and what they use.
class walk
{
public:
    std::vector<capnp::Schema> found;

    void visit(capnp::StructSchema schema)
    {
        // A generic type's arguments are looked at each time: its fields only once.
        arguments_of(schema);
        if (!seen_.insert(schema.getProto().getId()).second) return;
        found.push_back(schema);
        for (const auto field : schema.getFields()) visit(field.getType());
    }

private:
    void visit(capnp::Type type)
    {
        while (type.isList()) type = type.asList().getElementType();
        if (type.isStruct()) visit(type.asStruct());
        if (type.isEnum() && seen_.insert(type.asEnum().getProto().getId()).second)
            found.push_back(type.asEnum());
    }

    void arguments_of(capnp::Schema schema)
    {
        if (!schema.isBranded()) return;
        for (const auto scope : {schema.getProto().getId(), schema.getProto().getScopeId()})
            for (const auto argument : schema.getBrandArgumentsAtScope(scope)) visit(argument);
    }

    std::set<std::uint64_t> seen_;
};

}  // namespace

std::string text_of(capnp::Text::Reader text)
{
    return {text.begin(), text.size()};
}

std::optional<std::uint32_t> version_of(capnp::StructSchema schema)
{
    for (const auto a : schema.getProto().getAnnotations())
        if (a.getId() == version_annotation && a.getValue().isUint32())
            return a.getValue().getUint32();
    return std::nullopt;
}

std::string id_text(std::uint64_t id)
{
    std::array<char, 16> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), id, 16).ptr;
    const auto n   = static_cast<std::size_t>(end - digits.data());
    return "0x" + std::string(16 - n, '0') + std::string{digits.data(), n};
}

std::string type_text(capnp::Type type)
{
    switch (type.which()) {
    case Type::VOID:
        return "Void";
    case Type::BOOL:
        return "Bool";
    case Type::INT8:
        return "Int8";
    case Type::INT16:
        return "Int16";
    case Type::INT32:
        return "Int32";
    case Type::INT64:
        return "Int64";
    case Type::UINT8:
        return "UInt8";
    case Type::UINT16:
        return "UInt16";
    case Type::UINT32:
        return "UInt32";
    case Type::UINT64:
        return "UInt64";
    case Type::FLOAT32:
        return "Float32";
    case Type::FLOAT64:
        return "Float64";
    case Type::TEXT:
        return "Text";
    case Type::DATA:
        return "Data";
    case Type::LIST:
        return "List(" + type_text(type.asList().getElementType()) + ")";
    case Type::ENUM:
        return std::string{short_name(type.asEnum())};
    case Type::STRUCT:
        return std::string{short_name(type.asStruct())};
    case Type::INTERFACE:
        return std::string{short_name(type.asInterface())};
    case Type::ANY_POINTER:
        return "AnyPointer";
    }
    return "?";
}

std::string value_text(capnp::schema::Value::Reader value, capnp::Type type)
{
    using capnp::schema::Value;
    switch (value.which()) {
    case Value::VOID:
        return "void";
    case Value::BOOL:
        return value.getBool() ? "true" : "false";
    case Value::INT8:
        return std::to_string(value.getInt8());
    case Value::INT16:
        return std::to_string(value.getInt16());
    case Value::INT32:
        return std::to_string(value.getInt32());
    case Value::INT64:
        return std::to_string(value.getInt64());
    case Value::UINT8:
        return std::to_string(value.getUint8());
    case Value::UINT16:
        return std::to_string(value.getUint16());
    case Value::UINT32:
        return std::to_string(value.getUint32());
    case Value::UINT64:
        return std::to_string(value.getUint64());
    case Value::FLOAT32:
        return of_kj(kj::str(value.getFloat32()));
    case Value::FLOAT64:
        return of_kj(kj::str(value.getFloat64()));
    case Value::TEXT:
        return quoted(text_of(value.getText()));
    case Value::ENUM:
        if (type.isEnum()) {
            const auto words = type.asEnum().getEnumerants();
            if (value.getEnum() < words.size())
                return text_of(words[value.getEnum()].getProto().getName());
        }
        return std::to_string(value.getEnum());
    // Of these a change is seen, and not shown.
    case Value::DATA:
        return "data";
    case Value::LIST:
        return "a list";
    case Value::STRUCT:
        return "a struct";
    case Value::INTERFACE:
    case Value::ANY_POINTER:
        return "a pointer";
    }
    return "?";
}

std::string annotation_text(capnp::schema::Annotation::Reader annotation)
{
    const auto* known =
        std::ranges::find(known_annotations, annotation.getId(), &known_annotation::id);
    const auto name = known == known_annotations.end() ? id_text(annotation.getId())
                                                       : "Cairn." + std::string{known->name};
    if (annotation.getValue().isVoid()) return "$" + name;
    return "$" + name + "(" + value_text(annotation.getValue(), {}) + ")";
}

std::vector<capnp::Schema> closure(capnp::StructSchema schema)
{
    walk all;
    all.visit(schema);
    return std::move(all.found);
}

std::string encode_schema(capnp::StructSchema schema)
{
    const auto              all = closure(schema);
    std::set<std::uint64_t> used;
    const auto              use = [&](capnp::List<capnp::schema::Annotation>::Reader annotations) {
        for (const auto a : annotations)
            if (std::ranges::find(known_annotations, a.getId(), &known_annotation::id) !=
                known_annotations.end())
                used.insert(a.getId());
    };
    for (const auto& one : all) {
        use(one.getProto().getAnnotations());
        if (one.getProto().isStruct())
            for (const auto field : one.getProto().getStruct().getFields())
                use(field.getAnnotations());
    }

    capnp::MallocMessageBuilder message;
    auto                        request = message.initRoot<capnp::schema::CodeGeneratorRequest>();
    auto     nodes = request.initNodes(static_cast<unsigned>(all.size() + used.size()));
    unsigned n     = 0;
    for (const auto& one : all) nodes.setWithCaveats(n++, one.getProto());
    for (const auto& known : known_annotations) {
        if (!used.contains(known.id)) continue;
        const std::string file = "cairn/event.capnp:";
        auto              node = nodes[n++];
        node.setId(known.id);
        node.setDisplayName(file + std::string{known.name});
        node.setDisplayNamePrefixLength(static_cast<std::uint32_t>(file.size()));
        known.declare(node.initAnnotation());
    }

    // One segment, as events are.
    capnp::MallocMessageBuilder one{
        static_cast<unsigned>(request.asReader().totalSize().wordCount + 1)};
    one.setRoot(request.asReader());
    const auto words = capnp::messageToFlatArray(one);
    const auto bytes = words.asBytes();
    return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
}

namespace {

/// Writes a struct as it stands in a file; what it uses and is not inside of it comes after.
class writer
{
public:
    explicit writer(const std::vector<capnp::Schema>& all) : all_{all} {}

    std::string text()
    {
        for (const auto& one : all_)
            if (!is_group(one) && !inside_another(one)) {
                if (!text_.empty()) text_ += '\n';
                declaration(one, 0);
            }
        return std::move(text_);
    }

private:
    static bool is_group(capnp::Schema s)
    {
        return s.getProto().isStruct() && s.getProto().getStruct().getIsGroup();
    }

    bool inside_another(capnp::Schema s) const
    {
        return std::ranges::any_of(all_, [&](capnp::Schema other) {
            return other.getProto().getId() == s.getProto().getScopeId();
        });
    }

    void line(std::size_t depth, const std::string& text)
    {
        text_ += std::string(depth * 4, ' ') + text + '\n';
    }

    void declaration(capnp::Schema s, std::size_t depth)
    {
        const auto head = std::string{short_name(s)} + " @" + id_text(s.getProto().getId());
        if (s.getProto().isEnum()) {
            std::string words;
            for (const auto e : s.asEnum().getEnumerants())
                words += " " + text_of(e.getProto().getName()) + " @" +
                         std::to_string(e.getOrdinal()) + ";";
            line(depth, "enum " + head + " {" + words + " }");
            return;
        }
        std::string annotations;
        for (const auto a : s.getProto().getAnnotations()) annotations += " " + annotation_text(a);
        line(depth, "struct " + head + annotations + " {");
        fields(s.asStruct(), depth + 1);
        for (const auto& other : all_)
            if (!is_group(other) && other.getProto().getScopeId() == s.getProto().getId()) {
                text_ += '\n';
                declaration(other, depth + 1);
            }
        line(depth, "}");
    }

    void fields(capnp::StructSchema s, std::size_t depth)
    {
        for (const auto field : s.getNonUnionFields()) one_field(field, depth);
        if (s.getUnionFields().size() == 0) return;
        line(depth, "union {");
        for (const auto field : s.getUnionFields()) one_field(field, depth + 1);
        line(depth, "}");
    }

    void one_field(capnp::StructSchema::Field field, std::size_t depth)
    {
        const auto  proto = field.getProto();
        std::string rest;
        for (const auto a : proto.getAnnotations()) rest += " " + annotation_text(a);
        const auto name = text_of(proto.getName());
        if (proto.isGroup()) {
            line(depth, name + " :group" + rest + " {");
            fields(field.getType().asStruct(), depth + 1);
            line(depth, "}");
            return;
        }
        auto text = name;
        if (proto.getOrdinal().isExplicit())
            text += " @" + std::to_string(proto.getOrdinal().getExplicit());
        text += " :" + type_text(field.getType());
        if (proto.getSlot().getHadExplicitDefault())
            text += " = " + value_text(proto.getSlot().getDefaultValue(), field.getType());
        line(depth, text + rest + ";");
    }

    const std::vector<capnp::Schema>& all_;
    std::string                       text_;
};

}  // namespace

}  // namespace detail

std::string capnp_text(capnp::StructSchema schema)
{
    const auto all = detail::closure(schema);
    return detail::writer{all}.text();
}

}  // namespace cairn
