// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/detail/names.hpp>

#include <boost/core/demangle.hpp>

#include <algorithm>

namespace cairn::detail {

std::string_view short_name(capnp::Schema schema)
{
    // As getShortDisplayName(), which believes the length.
    const auto             name = schema.getProto().getDisplayName();
    const std::string_view all{name.begin(), name.size()};
    return all.substr(
        std::min<std::size_t>(all.size(), schema.getProto().getDisplayNamePrefixLength()));
}

std::string short_name(std::type_index type)
{
    const auto full = boost::core::demangle(type.name());
    const auto end  = full.find('<');
    const auto at   = full.rfind("::", end);
    return at == std::string::npos ? full : full.substr(at + 2);
}

}  // namespace cairn::detail
