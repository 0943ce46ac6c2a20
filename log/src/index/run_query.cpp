// SPDX-License-Identifier: Apache-2.0
#include "index/run_query.hpp"

#include "index/run_writer.hpp"

#include <algorithm>

namespace cairn::detail {

run_query::run_query(const run& r, const query_terms& q) : run_{&r}
{
    for (const auto& wanted : q.items)
        if (!add_item(wanted)) items_.pop_back();
}

/// False where nothing here can match.
bool run_query::add_item(const query_terms::item& wanted)
{
    auto&      i = items_.emplace_back();
    term_entry e;
    for (const auto& t : wanted.tags) {
        if (!run_->terms().find(t, e)) return false;
        i.tags.emplace_back(*run_, e);
    }
    for (const auto& t : wanted.types)
        if (run_->terms().find(t, e)) i.types.emplace_back(*run_, e);
    std::sort(i.tags.begin(), i.tags.end(),
              [](const term_cursor& a, const term_cursor& b) { return a.count() < b.count(); });
    return wanted.types.empty() || !i.types.empty();
}

template <direction D>
std::int64_t run_query::seek(term_cursor& c, std::int64_t bound)
{
    if (bound < 0) return -1;
    constexpr bool backward = D == direction::backward;
    const auto     n = c.count_before(static_cast<std::uint64_t>(bound) + (backward ? 1 : 0));
    if (n == (backward ? 0 : c.count())) return -1;
    const std::int64_t at = c.at(backward ? n - 1 : n);
    // Else two lists could send each other back and forth for ever.
    if (backward ? at > bound : at < bound) throw_run_contradicts();
    return at;
}

/// The nearest position of any of the types.
template <direction D>
std::int64_t run_query::seek_any(cursors& types, std::int64_t bound)
{
    std::int64_t best = -1;
    for (auto& c : types) {
        const auto at = seek<D>(c, bound);
        if (at < 0) continue;
        if (at == bound) return at;
        if (best < 0 || (D == direction::backward ? at > best : at < best)) best = at;
    }
    return best;
}

/// The nearest position of all of the tags and any of the types.
template <direction D>
std::int64_t run_query::seek_all(item& i, std::int64_t bound) const
{
    for (;;) {
        if (!i.tags.empty()) bound = seek<D>(i.tags.front(), bound);
        if (bound < 0) return -1;
        auto at = bound;
        for (std::size_t n = 1; n < i.tags.size() && at == bound; ++n)
            at = seek<D>(i.tags[n], bound);
        if (at == bound && !i.types.empty()) {
            at = seek_any<D>(i.types, bound);
            if (i.tags.empty()) return at;
        }
        if (at == bound || at < 0) return at;
        bound = at;
    }
}

template <direction D>
std::optional<std::int64_t> run_query::step(std::int64_t bound)
{
    const auto first = run_->first().value;
    const auto last  = run_->end().value - 1;
    if constexpr (D == direction::backward)
        bound = std::min(bound, last);
    else
        bound = std::max(bound, first);
    if (bound < first || bound > last) return std::nullopt;

    std::optional<std::int64_t> best;
    for (auto& i : items_) {
        const bool known =
            i.found && (D == direction::backward ? *i.found <= bound : *i.found >= bound);
        if (!known && !i.exhausted) {
            const bool everything = i.tags.empty() && i.types.empty();
            const auto at         = everything ? bound - first : seek_all<D>(i, bound - first);
            i.exhausted           = at < 0;
            i.found               = first + at;
        }
        if (i.exhausted) continue;
        if (!best || (D == direction::backward ? *i.found > *best : *i.found < *best))
            best = i.found;
    }
    return best;
}

std::optional<std::int64_t> run_query::previous(std::int64_t bound)
{
    return step<direction::backward>(bound);
}

std::optional<std::int64_t> run_query::next(std::int64_t bound)
{
    return step<direction::forward>(bound);
}

}  // namespace cairn::detail
