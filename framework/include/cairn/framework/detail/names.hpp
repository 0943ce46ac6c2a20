// SPDX-License-Identifier: Apache-2.0
//
// What types are called, for people.
#pragma once

#include <capnp/schema.h>

#include <string>
#include <string_view>
#include <typeindex>

namespace cairn::detail {

/// "ItemAdded", of a struct or enum. Good as long as the schema is, whatever its bytes say.
std::string_view short_name(capnp::Schema schema);

/// "Deposit" of bank::Deposit. Of a template's arguments the namespaces stay.
std::string short_name(std::type_index type);

}  // namespace cairn::detail
