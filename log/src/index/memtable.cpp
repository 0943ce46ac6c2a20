// SPDX-License-Identifier: Apache-2.0
#include "index/memtable.hpp"

#include <algorithm>

namespace cairn::detail {

memtable::memtable(const memtable& before) : memtable{before.end_}
{
    by_stream_.reserve(before.streams_.size());
    by_term_.reserve(before.terms_.size());
    by_command_.reserve(before.commands_.size());
}

std::uint64_t memtable::bytes() const noexcept
{
    return by_stream_.bytes() + by_term_.bytes() + by_command_.bytes() +
           streams_.size() * sizeof(stream_slot) + terms_.size() * sizeof(term_slot) +
           commands_.size() * sizeof(command_slot) + events_.size() * sizeof(event_node) +
           term_nodes_.size() * sizeof(term_node) + tagged_.size() * sizeof(tagged_record);
}

void memtable::reserve_more(std::span<const index_entry> entries)
{
    const auto    n     = static_cast<std::uint32_t>(entries.size());
    std::uint32_t terms = 0;
    for (const auto& e : entries)
        terms += static_cast<std::uint32_t>(e.terms.size());
    by_stream_.reserve(streams_.size() + n);
    by_term_.reserve(terms_.size() + terms);
    by_command_.reserve(commands_.size() + n);
    streams_.reserve_more(n);
    terms_.reserve_more(terms);
    commands_.reserve_more(n);
    events_.reserve_more(n);
    term_nodes_.reserve_more(terms);
    tagged_.reserve_more(n);
}

version memtable::add(const index_entry& e, std::int64_t versions_before) noexcept
{
    const auto v = e.stream ? add_event(e, versions_before) : version{-1};
    if (!e.terms.empty()) add_terms(e);
    if (e.command) add_command(e);
    end_ = e.position.next();
    ++entries_;
    return v;
}

namespace {

/// How far the jump of a stream's n-th node goes, n from 0: over the least part of n, where n is
/// taken apart into numbers 2^k - 1, the largest first. From any node any earlier one is then
/// reached in a logarithmic number of jumps and steps (E. W. Myers, "An applicative random-access
/// stack", 1983).
std::uint32_t jump_length(std::uint32_t n) noexcept
{
    std::uint32_t part = 0;
    while (n != 0) {
        part = (std::uint32_t{1} << (std::bit_width(n + 1) - 1)) - 1;
        n -= part;
    }
    return part;
}

}  // namespace

version memtable::add_event(const index_entry& e, std::int64_t versions_before) noexcept
{
    auto n = by_stream_.find(e.stream, [&](auto i) { return streams_[i].hash == e.stream; });
    if (n == no_node) {
        n = by_stream_.add(e.stream);
        streams_.push_back({e.stream, versions_before, e.partition_uid, 0, no_node});
    }
    auto&      slot     = streams_[n];
    const auto previous = slot.last;
    auto       jump     = previous;
    // Two jumps of one length in a row become one over both.
    if (jump_length(slot.count) > 1) jump = events_[events_[previous].jump].jump;
    events_.push_back({e.position.value, e.offset.value, e.at, e.check, previous, jump});
    slot.last = events_.size() - 1;
    return version{slot.first_version + slot.count++};
}

std::uint32_t memtable::node_of(const stream_slot& s, std::int64_t version) const noexcept
{
    const auto wanted = static_cast<std::uint32_t>(version - s.first_version);
    auto       node   = s.last;
    for (auto n = s.count - 1; n > wanted;) {
        const auto length = jump_length(n);
        const bool jumps  = n - wanted >= length;
        node              = jumps ? events_[node].jump : events_[node].previous;
        n -= jumps ? length : 1;
    }
    return node;
}

void memtable::add_terms(const index_entry& e) noexcept
{
    const auto record = tagged_.size();
    const auto nodes  = term_nodes_.size();
    for (const auto& t : e.terms) {
        auto n = by_term_.find(t, [&](auto i) { return terms_[i].hash == t; });
        if (n == no_node) {
            n = by_term_.add(t);
            terms_.push_back({t, 0, no_node});
        }
        auto& slot = terms_[n];
        if (slot.last != no_node && slot.last >= nodes) continue;  // the record repeats it
        term_nodes_.push_back({n, slot.last, record});
        slot.last = term_nodes_.size() - 1;
        ++slot.count;
    }
    tagged_.push_back({e.position.value, nodes, term_nodes_.size() - nodes});
}

void memtable::add_command(const index_entry& e) noexcept
{
    const auto n =
        by_command_.find(e.command, [&](auto i) { return commands_[i].hash == e.command; });
    if (n == no_node) {
        by_command_.add(e.command);
        commands_.push_back({e.command, e.position.value, 1});
        return;
    }
    auto& slot = commands_[n];
    // An id that comes back later is not the same append; the first one is what counts.
    if (slot.first + slot.count == e.position.value) ++slot.count;
}

std::optional<command_found> memtable::find_command(const term& t) const noexcept
{
    const auto* slot = find(by_command_, commands_, t);
    if (slot == nullptr) return std::nullopt;
    return command_found{position{slot->first}, slot->count};
}

// ---- To a run. ---------------------------------------------------------------------------

namespace {

/// The numbers of the slots, ascending by hash. Hashes are spread evenly, so the first bits put
/// nearly each in its place.
template <class Slot>
std::vector<std::uint32_t> sorted_by_hash(const growing_array<Slot>& slots)
{
    struct key
    {
        std::uint64_t high;
        std::uint32_t number;
    };
    const auto n     = slots.size();
    const auto bits  = std::clamp(static_cast<int>(std::bit_width(n)) - 2, 1, 16);
    const auto place = [bits](std::uint64_t high) { return high >> (64 - bits); };

    std::vector<std::uint32_t> begins((std::size_t{1} << bits) + 1, 0);
    for (std::uint32_t i = 0; i < n; ++i)
        ++begins[place(slots[i].hash.high) + 1];
    for (std::size_t b = 1; b < begins.size(); ++b)
        begins[b] += begins[b - 1];

    std::vector<key> keys(n);
    auto             next = begins;
    for (std::uint32_t i = 0; i < n; ++i)
        keys[next[place(slots[i].hash.high)]++] = {slots[i].hash.high, i};
    const auto less = [&](const key& a, const key& b) {
        if (a.high != b.high) return a.high < b.high;
        return slots[a.number].hash.low < slots[b.number].hash.low;
    };
    std::vector<std::uint32_t> order;
    order.reserve(n);
    for (std::size_t b = 0; b + 1 < begins.size(); ++b)
        std::sort(keys.begin() + begins[b], keys.begin() + begins[b + 1], less);
    for (const auto& k : keys)
        order.push_back(k.number);
    return order;
}

}  // namespace

memtable::selection::selection(const memtable& m, position from, position before)
    : table_{m}
    , from_{from.value}
    , before_{before.value}
    , streams_{sorted_by_hash(m.streams_)}
    , terms_{sorted_by_hash(m.terms_)}
    , commands_{sorted_by_hash(m.commands_)}
{
    // Mostly a selection is all there is, and leaves nothing out.
    if (from <= m.first_ && m.end_ <= before) return;
    stretch s;
    std::erase_if(streams_, [&](auto i) {
        events_of(m.streams_[i], s);
        return s.nodes.empty();
    });
    std::erase_if(terms_, [&](auto i) {
        records_of(m.terms_[i], s);
        return s.nodes.empty();
    });
    std::erase_if(commands_, [&](auto i) {
        const auto& c = m.commands_[i];
        return c.first >= before_ || c.first + c.count <= from_;
    });
}

void memtable::selection::events_of(const stream_slot& s, stretch& out) const
{
    out.nodes.clear();
    out.older = s.count;
    for (auto n = s.last; n != no_node; n = table_.events_[n].previous) {
        const auto& e = table_.events_[n];
        if (e.position < from_) break;
        --out.older;
        if (e.position < before_) out.nodes.push_back(n);
    }
    std::reverse(out.nodes.begin(), out.nodes.end());
}

void memtable::selection::records_of(const term_slot& s, stretch& out) const
{
    out.nodes.clear();
    for (auto n = s.last; n != no_node; n = table_.term_nodes_[n].previous) {
        const auto position = table_.tagged_[table_.term_nodes_[n].record].position;
        if (position < from_) break;
        if (position < before_) out.nodes.push_back(n);
    }
    std::reverse(out.nodes.begin(), out.nodes.end());
}

run_counts memtable::selection::counts() const
{
    const bool  all = from_ <= table_.first_.value && table_.end_.value <= before_;
    run_counter c;
    stretch     s;
    for (const auto i : streams_) {
        const auto& slot = table_.streams_[i];
        if (!all) events_of(slot, s);
        c.stream(all ? slot.count : s.nodes.size());
    }
    for (const auto i : terms_) {
        const auto& slot = table_.terms_[i];
        if (!all) records_of(slot, s);
        c.term(all ? slot.count : s.nodes.size());
    }
    for (std::size_t i = 0; i < commands_.size(); ++i)
        c.command();
    return c.counts();
}

void memtable::selection::write_streams(run_writer& to) const
{
    // In the order of hashes, slots and nodes are anywhere: they are fetched some while before.
    constexpr std::size_t ahead = 8;
    stretch               s;
    for (std::size_t i = 0; i < streams_.size(); ++i) {
        if (i + 2 * ahead < streams_.size())
            __builtin_prefetch(&table_.streams_[streams_[i + 2 * ahead]]);
        if (i + ahead < streams_.size())
            __builtin_prefetch(&table_.events_[table_.streams_[streams_[i + ahead]].last]);
        const auto& slot = table_.streams_[streams_[i]];
        events_of(slot, s);
        to.begin_stream({slot.hash, slot.partition_uid, slot.first_version + s.older,
                         static_cast<std::uint32_t>(s.nodes.size())});
        for (const auto n : s.nodes) {
            const auto& e = table_.events_[n];
            to.event(relative(e.position), e.offset, e.at, e.check);
        }
        to.end_stream();
    }
}

void memtable::selection::write_terms(run_writer& to) const
{
    stretch s;
    for (const auto i : terms_) {
        const auto& slot = table_.terms_[i];
        records_of(slot, s);
        to.begin_term(slot.hash, static_cast<std::uint32_t>(s.nodes.size()));
        for (const auto n : s.nodes)
            to.posting(relative(table_.tagged_[table_.term_nodes_[n].record].position));
        to.end_term();
    }
}

void memtable::selection::write(run_writer& to) const
{
    write_streams(to);
    write_terms(to);
    for (const auto i : commands_) {
        const auto& c     = table_.commands_[i];
        const auto  first = std::max(c.first, from_);
        const auto  end   = std::min(c.first + c.count, before_);
        to.command(c.hash, relative(first), static_cast<std::uint32_t>(end - first));
    }
    to.finish();
}

// ---- Queries. ----------------------------------------------------------------------------

memtable_query::memtable_query(const memtable& m, const query_terms& q)
    : table_{&m}, first_{m.first().value}, end_{m.end().value}, records_{m.tagged_.size()}
{
    for (const auto& wanted : q.items)
        if (!add_item(wanted)) items_.pop_back();
}

/// False where nothing here can match.
bool memtable_query::add_item(const query_terms::item& wanted)
{
    auto& i = items_.emplace_back();
    i.all   = wanted.types.empty() && wanted.tags.empty();
    everything_ |= i.all;

    const auto slot_of = [this](const term& t) {
        return table_->by_term_.find(t, [&](auto n) { return table_->terms_[n].hash == t; });
    };
    auto fewest = no_node;
    auto chain  = no_node;  // of the rarest tag
    for (const auto& t : wanted.tags) {
        const auto n = slot_of(t);
        if (n == no_node) return false;
        i.tags.push_back(n);
        const auto& slot = table_->terms_[n];
        if (slot.count < fewest) {
            fewest = slot.count;
            chain  = slot.last;
        }
    }
    for (const auto& t : wanted.types) {
        const auto n = slot_of(t);
        if (n == no_node) continue;
        i.types.push_back(n);
        if (chain != no_node) continue;
        i.chains.push_back(table_->terms_[n].last);
        in_chains_ += table_->terms_[n].count;
    }
    if (!wanted.types.empty() && i.types.empty()) return false;
    if (chain != no_node) {
        i.chains.push_back(chain);
        in_chains_ += fewest;
    }
    return true;
}

bool memtable_query::matches(const item& i, const memtable::tagged_record& r) const
{
    const auto has = [&](std::uint32_t id) {
        for (auto n = r.nodes; n < r.nodes + r.count; ++n)
            if (table_->term_nodes_[n].term == id) return true;
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
        const auto& n = table_->term_nodes_[*newest];
        const auto& r = table_->tagged_[n.record];
        if (r.position < from) return std::nullopt;
        *newest = n.previous;
        if (r.position <= bound && (i.tags.empty() || matches(i, r))) return r.position;
    }
}

std::optional<std::int64_t> memtable_query::previous(std::int64_t bound, std::int64_t from)
{
    if (many() && !everything_) return previous_record(bound, from);
    std::optional<std::int64_t> best;
    for (auto& i : items_) {
        if (!i.found || *i.found > bound) i.found = previous(i, bound, from);
        if (i.found && (!best || *i.found > *best)) best = i.found;
    }
    return best;
}

std::optional<std::int64_t> memtable_query::previous_record(std::int64_t bound, std::int64_t from)
{
    if (!reached_) reached_ = first_record_at(bound + 1);
    while (*reached_ > 0) {
        const auto& r = table_->tagged_[*reached_ - 1];
        if (r.position < from) break;
        --*reached_;
        if (r.position <= bound && matches(r)) return r.position;
    }
    return std::nullopt;
}

/// The first of the records whose position is not below this.
std::uint32_t memtable_query::first_record_at(std::int64_t position) const
{
    std::uint32_t low  = 0;
    std::uint32_t high = records_;
    while (low < high) {
        const auto middle = low + (high - low) / 2;
        if (table_->tagged_[middle].position < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool memtable_query::matches(const memtable::tagged_record& r) const
{
    return std::any_of(items_.begin(), items_.end(),
                       [&](const item& i) { return matches(i, r); });
}

void memtable_query::forward(std::int64_t from, std::int64_t before, std::size_t max,
                             std::vector<position>& out)
{
    from   = std::max(from, first_);
    before = std::min(before, end_);
    if (everything_) {
        for (auto p = from; p < before && out.size() < max; ++p)
            out.push_back(position{p});
        return;
    }
    if (many()) {
        for (auto n = first_record_at(from); n < records_ && out.size() < max; ++n) {
            const auto& r = table_->tagged_[n];
            if (r.position >= before) return;
            if (matches(r)) out.push_back(position{r.position});
        }
        return;
    }
    std::vector<position> newest_first;
    for (auto bound = before - 1;;) {
        const auto found = previous(bound, from);
        if (!found) break;
        newest_first.push_back(position{*found});
        bound = *found - 1;
    }
    for (auto p = newest_first.rbegin(); p != newest_first.rend() && out.size() < max; ++p)
        out.push_back(*p);
}

}  // namespace cairn::detail
