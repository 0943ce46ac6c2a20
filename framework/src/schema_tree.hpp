// SPDX-License-Identifier: Apache-2.0
//
// Schemas as text, and as the message that is kept of them.
#pragma once

#include "annotations.hpp"

#include <cairn/framework/detail/names.hpp>
#include <cairn/framework/schema.hpp>

#include <capnp/schema.capnp.h>
#include <capnp/schema.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cairn::detail {

std::string text_of(capnp::Text::Reader text);

/// What $Cairn.version says.
std::optional<std::uint32_t> version_of(capnp::StructSchema schema);

/// "0xd1a6f3c2b4e59870"
std::string id_text(std::uint64_t id);

/// "List(UInt64)"; structs and enums by their short names.
std::string type_text(capnp::Type type);

/// As it stands behind a = in a .capnp file.
std::string value_text(capnp::schema::Value::Reader value, capnp::Type type);

/// "$Cairn.tag("customer")"
std::string annotation_text(capnp::schema::Annotation::Reader annotation);

/// The struct, and all structs and enums that it uses, groups among them: each once, the struct
/// first, in an order that depends on nothing else.
std::vector<capnp::Schema> closure(capnp::StructSchema schema);

/// A CodeGeneratorRequest with these, and the declarations of Cairn's annotations on them.
std::string encode_schema(capnp::StructSchema schema);

}  // namespace cairn::detail
