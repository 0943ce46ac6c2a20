// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/upcasters.hpp>

#include <cairn/framework/detail/names.hpp>

#include <cairn/log/error.hpp>

namespace cairn {

namespace {

[[noreturn]] void refuse_second(std::string_view what)
{
    throw error{errc::invalid_argument,
                "there is an upcaster for " + std::string{what} + " already: one of them is dead"};
}

template <class Map, class Key>
auto* found(Map& map, const Key& key) noexcept
{
    const auto at = map.find(key);
    return at == map.end() ? nullptr : &at->second;
}

}  // namespace

void upcasters::add(changing c)
{
    const auto id = c.old.getProto().getId();
    if (!changes_.try_emplace(id, c).second) refuse_second(detail::short_name(c.old));
}

void upcasters::add_merge(merging m)
{
    const auto id = m.first.getProto().getId();
    if (!merges_.try_emplace(id, m).second) refuse_second(detail::short_name(m.first));
}

void upcasters::add_name(std::string old_name, capnp::StructSchema now)
{
    if (!names_.try_emplace(old_name, now).second) refuse_second(old_name);
}

void upcasters::add_id(std::uint64_t old_id, capnp::StructSchema now)
{
    if (!ids_.try_emplace(old_id, now).second) refuse_second(detail::short_name(now));
}

const upcasters::changing* upcasters::change_of(std::uint64_t type_id) const noexcept
{
    return found(changes_, type_id);
}

const upcasters::merging* upcasters::merge_of(std::uint64_t first_id) const noexcept
{
    return found(merges_, first_id);
}

std::optional<capnp::StructSchema> upcasters::merged(std::uint64_t type_id) const noexcept
{
    for (const auto& [id, m] : merges_) {
        if (id == type_id) return m.first;
        if (m.second.getProto().getId() == type_id) return m.second;
    }
    return std::nullopt;
}

std::optional<capnp::StructSchema> upcasters::schema_of(std::uint64_t old_id) const noexcept
{
    const auto* s = found(ids_, old_id);
    return s ? std::optional{*s} : std::nullopt;
}

std::optional<capnp::StructSchema> upcasters::schema_of(std::string_view old_name) const noexcept
{
    for (const auto& [name, schema] : names_)
        if (name == old_name) return schema;
    return std::nullopt;
}

std::vector<capnp::StructSchema> upcasters::old_types() const
{
    std::vector<capnp::StructSchema> types;
    for (const auto& [id, c] : changes_) types.push_back(c.old);
    for (const auto& [id, m] : merges_) {
        types.push_back(m.first);
        types.push_back(m.second);
    }
    return types;
}

std::vector<std::uint64_t> upcasters::old_ids() const
{
    std::vector<std::uint64_t> ids;
    for (const auto& [id, s] : ids_) ids.push_back(id);
    return ids;
}

std::vector<std::string> upcasters::old_names() const
{
    std::vector<std::string> names;
    for (const auto& [name, s] : names_) names.push_back(name);
    return names;
}

}  // namespace cairn
