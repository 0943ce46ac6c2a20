// SPDX-License-Identifier: Apache-2.0
//
// What the index must say, computed the slow and obvious way.
#pragma once

#include "index/index.hpp"
#include "main/temporary_directory.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <vector>

namespace cairn::detail {

inline bool operator==(const stream_posting& a, const stream_posting& b)
{
    return a.version == b.version && a.position == b.position &&
           a.partition_uid == b.partition_uid && a.offset == b.offset && a.at == b.at &&
           a.check == b.check;
}
inline bool operator==(const stream_head& a, const stream_head& b)
{
    return a.count == b.count && a.last_position == b.last_position &&
           a.last_offset == b.last_offset;
}
inline bool operator==(const command_found& a, const command_found& b)
{
    return a.first == b.first && a.count == b.count;
}

}  // namespace cairn::detail

namespace cairn::testing {

using namespace cairn::detail;
using detail::index;  // not the one of <strings.h>

inline constexpr hash_key test_key{0x0706050403020100, 0x0f0e0d0c0b0a0908};

/// A record as the index sees it. `stream` and `command` may be absent (zero).
struct indexed_record
{
    cairn::position   position;
    std::uint32_t     partition_uid = 1;
    cairn::offset     offset;
    std::uint32_t     at    = 0;
    std::uint32_t     check = 0;
    term              stream;
    term              command;
    std::vector<term> terms;

    index_entry entry() const
    {
        return {position, partition_uid, offset, at, check, stream, command, terms, {}};
    }
    bool has(const term& t) const
    {
        return std::find(terms.begin(), terms.end(), t) != terms.end();
    }
};

/// The index as a plain list.
class index_model
{
public:
    version add(indexed_record r)
    {
        const version v{r.stream ? head(r.stream).count : -1};
        end = r.position.next();
        records.push_back(std::move(r));
        return v;
    }

    stream_head head(const term& stream) const
    {
        stream_head h;
        for (const auto& r : records)
            if (r.stream == stream) h = {h.count + 1, r.position, r.offset};
        return h;
    }

    std::vector<stream_posting> stream(const term& stream, version from, direction d,
                                       std::size_t max) const
    {
        std::vector<stream_posting> all;
        for (const auto& r : records) {
            if (r.stream != stream) continue;
            const version v{static_cast<std::int64_t>(all.size())};
            all.push_back({v, r.position, r.partition_uid, r.offset, r.at, r.check});
        }
        if (d == direction::backward) std::reverse(all.begin(), all.end());
        std::erase_if(all, [&](const stream_posting& p) {
            return d == direction::forward ? p.version < from : p.version > from;
        });
        if (all.size() > max) all.resize(max);
        return all;
    }

    static bool matches(const indexed_record* r, const query_terms& q)
    {
        const auto has = [r](const term& t) { return r != nullptr && r->has(t); };
        return std::any_of(q.items.begin(), q.items.end(), [&](const query_terms::item& i) {
            return std::all_of(i.tags.begin(), i.tags.end(), has) &&
                   (i.types.empty() || std::any_of(i.types.begin(), i.types.end(), has));
        });
    }

    std::vector<position> matches(const query_terms& q, position from, position before,
                                  direction d, std::size_t max) const
    {
        std::vector<position> all;
        auto                  next = records.begin();
        for (position p{0}; p < std::min(before, end); ++p) {
            while (next != records.end() && next->position < p)
                ++next;
            const bool there = next != records.end() && next->position == p;
            if (p >= from && matches(there ? &*next : nullptr, q)) all.push_back(p);
        }
        if (d == direction::backward) std::reverse(all.begin(), all.end());
        if (all.size() > max) all.resize(max);
        return all;
    }

    std::optional<position> last_match(const query_terms& q, std::optional<position> after,
                                       position before) const
    {
        const auto found =
            matches(q, after ? after->next() : position{0}, before, direction::backward, 1);
        return found.empty() ? std::nullopt : std::optional{found.front()};
    }

    std::optional<command_found> command(const term& id) const
    {
        std::optional<command_found> c;
        for (const auto& r : records) {
            if (r.command != id) continue;
            if (!c) c = command_found{r.position, 0};
            if (c->first + c->count == r.position) ++c->count;
        }
        return c;
    }

    std::map<term, stream_head> heads() const
    {
        std::map<term, stream_head> all;
        for (const auto& r : records) {
            if (!r.stream) continue;
            auto& h = all[r.stream];
            h       = {h.count + 1, r.position, r.offset};
        }
        return all;
    }

    std::vector<indexed_record> records;
    position                    end{0};
};

inline constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

}  // namespace cairn::testing
