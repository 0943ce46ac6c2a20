// SPDX-License-Identifier: Apache-2.0
#include "index/memtable.hpp"

#include <algorithm>

namespace cairn::detail {

void memtable::reset(position first) noexcept
{
    first_   = first;
    end_     = first;
    entries_ = 0;
    streams_.clear();
    terms_.clear();
    commands_.clear();
    events_.clear();
    term_nodes_.clear();
    tagged_.clear();
}

std::uint64_t memtable::bytes() const noexcept
{
    const auto of = [](const auto& m) {
        using value = typename std::decay_t<decltype(m)>::value_type;
        return m.size() * (sizeof(value) + 1) * 8 / 7;
    };
    return of(streams_) + of(terms_) + of(commands_) + events_.size() * sizeof(event_node) +
           term_nodes_.size() * sizeof(term_node) + tagged_.size() * sizeof(tagged_record);
}

void memtable::add_terms(const index_entry& e)
{
    const auto record = tagged_.size();
    const auto nodes  = term_nodes_.size();
    for (const auto& t : e.terms) {
        auto [at, added] = terms_.try_emplace(t);
        auto& slot       = at->second;
        if (added) slot.id = static_cast<std::uint32_t>(terms_.size() - 1);
        if (slot.last != no_node && slot.last >= nodes) continue;  // the record repeats it
        term_nodes_.push_back({slot.id, slot.last, record});
        slot.last = term_nodes_.size() - 1;
        ++slot.count;
    }
    tagged_.push_back({e.position.value, nodes, term_nodes_.size() - nodes});
}

void memtable::add_command(const index_entry& e)
{
    auto [at, added] = commands_.try_emplace(e.command, command_slot{e.position.value, 1});
    if (added) return;
    auto& slot = at->second;
    // An id that comes back later is not the same append; the first one is what counts.
    if (slot.first + slot.count == e.position.value) ++slot.count;
}

std::optional<command_found> memtable::find_command(const term& t) const noexcept
{
    const auto found = commands_.find(t);
    if (found == commands_.end()) return std::nullopt;
    return command_found{position{found->second.first}, found->second.count};
}

// ---- To a run. ---------------------------------------------------------------------------

namespace {

/// The first of [0, size) whose position is not below `wanted`.
template <class PositionOf>
std::uint32_t first_at(std::uint32_t size, position wanted, PositionOf position_of)
{
    std::uint32_t low  = 0;
    std::uint32_t high = size;
    while (low < high) {
        const auto middle = low + (high - low) / 2;
        if (position_of(middle) < wanted.value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/// Puts the nodes [begin, end) in the order of `groups`, which are sorted by hash and have the
/// id of their term in `begin`; drops groups without a node.
template <class Group, class IdOf>
std::vector<std::uint32_t> gather(std::vector<Group>& groups, std::uint32_t begin,
                                  std::uint32_t end, IdOf id_of)
{
    std::vector<std::uint32_t> next(groups.size(), 0);  // by id: first the count, then the place
    for (auto n = begin; n < end; ++n)
        ++next[id_of(n)];
    std::uint32_t place = 0;
    for (auto& g : groups) {
        const auto id = g.begin;
        g.begin       = place;
        g.count       = next[id];
        next[id]      = place;
        place += g.count;
    }
    std::vector<std::uint32_t> nodes(place);
    for (auto n = begin; n < end; ++n)
        nodes[next[id_of(n)]++] = n;
    std::erase_if(groups, [](const Group& g) { return g.count == 0; });
    return nodes;
}

constexpr auto less_by_hash = [](const auto& a, const auto& b) { return a.hash < b.hash; };

}  // namespace

memtable::selection memtable::select(position from, position before) const
{
    selection s;
    s.from   = from;
    s.before = before;

    const auto event_position = [this](std::uint32_t n) { return events_[n].position; };
    const auto events_begin   = first_at(events_.size(), from, event_position);
    const auto events_end     = first_at(events_.size(), before, event_position);
    s.streams.reserve(streams_.size());
    for (const auto& [hash, slot] : streams_)
        s.streams.push_back({hash, slot.partition_uid, slot.first_version, slot.id, slot.count});
    std::sort(s.streams.begin(), s.streams.end(), less_by_hash);
    if (events_begin != 0) {  // versions that came before the stretch
        std::vector<std::uint32_t> earlier(s.streams.size(), 0);
        for (std::uint32_t n = 0; n < events_begin; ++n)
            ++earlier[events_[n].stream];
        for (auto& g : s.streams)
            g.first_version += earlier[g.begin];
    }
    s.stream_nodes = gather(s.streams, events_begin, events_end,
                            [this](std::uint32_t n) { return events_[n].stream; });

    const auto record_position = [this](std::uint32_t r) { return tagged_[r].position; };
    const auto node_of         = [&](position p) {
        const auto record = first_at(tagged_.size(), p, record_position);
        return record == tagged_.size() ? term_nodes_.size() : tagged_[record].nodes;
    };
    s.terms.reserve(terms_.size());
    for (const auto& [hash, slot] : terms_)
        s.terms.push_back({hash, 0, 0, slot.id, slot.count});
    std::sort(s.terms.begin(), s.terms.end(), less_by_hash);
    s.term_nodes = gather(s.terms, node_of(from), node_of(before),
                          [this](std::uint32_t n) { return term_nodes_[n].term; });

    for (const auto& [hash, slot] : commands_) {
        const auto first = std::max(slot.first, from.value);
        const auto end   = std::min(slot.first + slot.count, before.value);
        if (first < end)
            s.commands.push_back({hash, static_cast<std::uint32_t>(first - from.value),
                                  static_cast<std::uint32_t>(end - first)});
    }
    std::sort(s.commands.begin(), s.commands.end(), less_by_hash);
    return s;
}

run_counts memtable::selection::counts() const noexcept
{
    run_counter c;
    for (const auto& g : streams)
        c.stream(g.count);
    for (const auto& g : terms)
        c.term(g.count);
    for (std::size_t i = 0; i < commands.size(); ++i)
        c.command();
    return c.counts();
}

void memtable::write(const selection& s, run_writer& to) const
{
    const auto relative = [&](std::int64_t position) {
        return static_cast<std::uint32_t>(position - s.from.value);
    };
    for (const auto& g : s.streams) {
        to.begin_stream({g.hash, g.partition_uid, g.first_version, g.count});
        for (auto i = g.begin; i < g.begin + g.count; ++i) {
            const auto& e = events_[s.stream_nodes[i]];
            to.event(relative(e.position), e.offset, e.at, e.check);
        }
        to.end_stream();
    }
    for (const auto& g : s.terms) {
        to.begin_term(g.hash, g.count);
        for (auto i = g.begin; i < g.begin + g.count; ++i)
            to.posting(relative(tagged_[term_nodes_[s.term_nodes[i]].record].position));
        to.end_term();
    }
    for (const auto& c : s.commands)
        to.command(c.hash, c.first, c.count);
}

// ---- Queries. ----------------------------------------------------------------------------

memtable_query::memtable_query(const memtable& m, const query_terms& q)
    : table_{&m}, first_{m.first().value}, end_{m.end().value}
{
    for (const auto& wanted : q.items)
        if (!add_item(wanted)) items_.pop_back();
}

/// False where nothing here can match.
bool memtable_query::add_item(const query_terms::item& wanted)
{
    auto& i = items_.emplace_back();
    i.all   = wanted.types.empty() && wanted.tags.empty();

    auto fewest = no_node;
    auto chain  = no_node;  // of the rarest tag
    for (const auto& t : wanted.tags) {
        const auto* slot = table_->find_term(t);
        if (slot == nullptr) return false;
        i.tags.push_back(slot->id);
        if (slot->count < fewest) {
            fewest = slot->count;
            chain  = slot->last;
        }
    }
    for (const auto& t : wanted.types) {
        const auto* slot = table_->find_term(t);
        if (slot == nullptr) continue;
        i.types.push_back(slot->id);
        if (chain == no_node) i.chains.push_back(slot->last);
    }
    if (!wanted.types.empty() && i.types.empty()) return false;
    if (chain != no_node) i.chains.push_back(chain);
    return true;
}

bool memtable_query::matches(const item& i, const memtable::tagged_record& r) const
{
    const auto has = [&](std::uint32_t id) {
        for (auto n = r.nodes; n < r.nodes + r.count; ++n)
            if (table_->node(n).term == id) return true;
        return false;
    };
    return std::all_of(i.tags.begin(), i.tags.end(), has) &&
           (i.types.empty() || std::any_of(i.types.begin(), i.types.end(), has));
}

std::optional<std::int64_t> memtable_query::previous(item& i, std::int64_t bound,
                                                     std::int64_t from) const
{
    if (i.all) {
        const auto newest = std::min(bound, end_ - 1);
        if (newest < std::max(first_, from)) return std::nullopt;
        return newest;
    }
    for (;;) {
        std::uint32_t* newest = nullptr;
        for (auto& chain : i.chains)
            if (chain != no_node && (newest == nullptr || chain > *newest)) newest = &chain;
        if (newest == nullptr) return std::nullopt;
        const auto& n = table_->node(*newest);
        const auto& r = table_->record(n.record);
        if (r.position < from) return std::nullopt;
        *newest = n.previous;
        if (r.position <= bound && (i.tags.empty() || matches(i, r))) return r.position;
    }
}

std::optional<std::int64_t> memtable_query::previous(std::int64_t bound, std::int64_t from)
{
    std::optional<std::int64_t> best;
    for (auto& i : items_) {
        if (!i.found || *i.found > bound) i.found = previous(i, bound, from);
        if (i.found && (!best || *i.found > *best)) best = i.found;
    }
    return best;
}

}  // namespace cairn::detail
