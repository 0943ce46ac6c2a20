// SPDX-License-Identifier: Apache-2.0
#include "index/index.hpp"

#include "file.hpp"
#include "index/memtable.hpp"
#include "index/run.hpp"
#include "index/run_merge.hpp"
#include "index/run_query.hpp"
#include "index/run_writer.hpp"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <utility>

namespace cairn::detail {

// ---- Terms. ------------------------------------------------------------------------------

namespace {

enum class term_kind : std::uint8_t
{
    key_check,
    stream,
    type,
    tag,
    command,
    any_record,
};

}  // namespace

term term_hasher::hash(std::uint8_t kind, std::uint32_t extra, bytes_view text) const noexcept
{
    siphash<1, 3> h{key_, true};
    h.word(std::uint64_t{kind} | std::uint64_t{extra} << 32);
    h.tail(text);
    const auto sum = h.finish128();
    return {sum[0], sum[1]};
}

term term_hasher::stream(std::uint32_t partition_uid, bytes_view key) const noexcept
{
    return hash(static_cast<std::uint8_t>(term_kind::stream), partition_uid, key);
}

term term_hasher::type(bytes_view name) const noexcept
{
    return hash(static_cast<std::uint8_t>(term_kind::type), 0, name);
}

term term_hasher::tag(bytes_view name) const noexcept
{
    return hash(static_cast<std::uint8_t>(term_kind::tag), 0, name);
}

term term_hasher::command(bytes_view id) const noexcept
{
    return hash(static_cast<std::uint8_t>(term_kind::command), 0, id);
}

term term_hasher::any_record() const noexcept
{
    return hash(static_cast<std::uint8_t>(term_kind::any_record), 0, {});
}

std::uint64_t term_hasher::key_check() const noexcept
{
    return hash(static_cast<std::uint8_t>(term_kind::key_check), 0, {}).high;
}

// ---- What lookups look at. ---------------------------------------------------------------

namespace {

/// All that the index holds at one moment. Replaced as a whole, so that a reader that took it
/// sees each position once, whatever is flushed and merged meanwhile.
struct sources
{
    std::shared_ptr<const memtable> active;
    std::shared_ptr<const memtable> frozen;  ///< what is being flushed, or null
    run_list                        runs;    ///< oldest first, adjacent, from position 0

    position checkpoint() const noexcept { return runs.empty() ? position{0} : runs.back()->end(); }

    template <class F>
    bool any_memtable(F&& f) const  // newest first, until f returns true
    {
        return f(*active) || (frozen && f(*frozen));
    }
};

stream_head head_of(const run& r, const stream_entry& e) noexcept
{
    return {e.first_version + e.count, r.first() + e.last, offset{e.first_offset + e.last_offset}};
}

/// How far a stream has come in the runs; those that end at or before `from` are left out.
std::optional<stream_head> head_in_runs(const run_list& runs, const term& stream, position from)
{
    // Lookups would wait for memory one after the other, unless all are begun first.
    for (auto r = runs.rbegin(); r != runs.rend() && (*r)->end() > from; ++r)
        (*r)->streams().prefetch(stream);
    stream_entry e;
    for (auto r = runs.rbegin(); r != runs.rend() && (*r)->end() > from; ++r)
        if ((*r)->streams().find(stream, e)) return head_of(**r, e);
    return std::nullopt;
}

/// One of many lookups in the runs.
struct runs_request
{
    const term*                stream = nullptr;
    position                   from{0};  ///< as above
    std::optional<stream_head> found;
    head_request*              asker = nullptr;
};

/// The same for many streams, a run at a time: so that what one lookup brought into the cache
/// serves the next, and each is begun some while before it is needed.
void heads_in_runs(const run_list& runs, std::span<runs_request> requests)
{
    constexpr std::size_t ahead = 12;
    using table                 = run_table<stream_entry>;

    std::vector<runs_request*>                               open;
    std::vector<std::pair<runs_request*, table::candidates>> likely;
    open.reserve(requests.size());
    for (auto& q : requests)
        open.push_back(&q);
    for (auto r = runs.rbegin(); r != runs.rend() && !open.empty(); ++r) {
        std::erase_if(open, [&](const runs_request* q) { return q->from >= (*r)->end(); });
        const auto& streams = (*r)->streams();
        likely.clear();
        for (std::size_t i = 0; i < std::min(ahead, open.size()); ++i)
            streams.prefetch(*open[i]->stream);
        for (std::size_t i = 0; i < open.size(); ++i) {
            if (i + ahead < open.size()) streams.prefetch(*open[i + ahead]->stream);
            const auto c = streams.look(*open[i]->stream);
            if (c.none()) continue;
            streams.prefetch(c);
            likely.emplace_back(open[i], c);
        }
        stream_entry e;
        for (auto& [q, c] : likely)
            if (streams.find_among(c, *q->stream, e)) q->found = head_of(**r, e);
        if (!likely.empty())
            std::erase_if(open, [](const runs_request* q) { return q->found.has_value(); });
    }
}

std::optional<position> last_match_in_runs(const run_list& runs, const query_terms& q,
                                           std::int64_t from, std::int64_t before)
{
    for (auto r = runs.rbegin(); r != runs.rend() && (*r)->end().value > from; ++r)
        for (const auto& item : q.items)
            if (!item.tags.empty()) (*r)->terms().prefetch(item.tags.front());
    for (auto r = runs.rbegin(); r != runs.rend() && (*r)->end().value > from; ++r) {
        if ((*r)->first().value >= before) continue;
        const auto found = run_query{**r, q}.previous(before - 1);
        if (found) return *found >= from ? std::optional{position{*found}} : std::nullopt;
    }
    return std::nullopt;
}

/// Removes a temporary file unless it got its name.
class temporary_file
{
public:
    explicit temporary_file(const std::string& path)
        : file_{path, file::access::truncate}
    {
    }
    ~temporary_file()
    {
        if (published_) return;
        file_.close();
        try {
            remove_file(file_.path());
        } catch (const storage_error&) {
            // Opening the index removes it.
        }
    }
    temporary_file(const temporary_file&)            = delete;
    temporary_file& operator=(const temporary_file&) = delete;

    file& get() noexcept { return file_; }
    void  publish_as(const std::string& path)
    {
        publish(file_, path);
        published_ = true;
    }

private:
    file file_;
    bool published_ = false;
};

/// Into a file. Has the kernel begin writing as it goes, so that the sync at the end of a large
/// merge does not stand in the way of the journal's.
class file_sink final : public run_sink
{
public:
    explicit file_sink(file& f) noexcept : file_{&f} {}
    void write_at(std::uint64_t at, bytes_view bytes) override
    {
        file_->write_at(at, bytes);
        if (bytes.size() >= write_back_from)
            ::sync_file_range(file_->fd(), static_cast<off64_t>(at),
                              static_cast<off64_t>(bytes.size()), SYNC_FILE_RANGE_WRITE);
    }

private:
    static constexpr std::size_t write_back_from = 128 * 1024;

    file* file_;
};

/// Below this all runs are of like size: their cost is being there, not what they hold.
constexpr std::uint64_t small_run_bytes = 64 * 1024;

struct merge_stopped
{
};

/// Has the kernel read ahead in these runs, as long as it lives.
class sequential_reading
{
public:
    explicit sequential_reading(const run_list& runs) : runs_{runs}
    {
        for (const auto& r : runs_)
            r->advise_sequential(true);
    }
    ~sequential_reading()
    {
        for (const auto& r : runs_)
            r->advise_sequential(false);
    }
    sequential_reading(const sequential_reading&)            = delete;
    sequential_reading& operator=(const sequential_reading&) = delete;

private:
    const run_list& runs_;
};

}  // namespace

// ---- The index. --------------------------------------------------------------------------

struct index::impl
{
    using fill_run = std::function<void(run_writer&)>;

    impl(options o, std::function<void(const std::string&)> on_damage);

    // Opening.
    void                       open_directory();
    std::shared_ptr<const run> open_run(const std::string& name, bool& vanished) const;

    // Adding.
    void know_versions(std::span<const index_entry> entries);

    // Maintenance.
    std::shared_ptr<const run> make_run(position first, position end, const run_counts& counts,
                                        bool in_memory, const fill_run& fill) const;
    bool                       freeze();
    void                       write_frozen();
    bool                       merge_after(std::size_t first);
    std::shared_ptr<const run> merge_runs(const merge_job& job);
    std::string                slice_of(const merge_job& job) const;

    std::string path_of(position first, position end) const
    {
        return settings.directory + '/' + run_file_name(first, end);
    }
    std::shared_ptr<const sources> view() const
    {
        std::shared_lock lock{mutex};
        return now;
    }
    void replace(sources next) { now = std::make_shared<const sources>(std::move(next)); }

    // Constant after construction.
    options                                 settings;
    term_hasher                             hasher;
    std::uint64_t                           key_check;
    std::function<void(const std::string&)> tell_damage;

    std::mutex        flush_mutex;  // before `mutex`
    std::mutex        merge_mutex;  // before `mutex`; never with flush_mutex
    std::atomic<bool> stopping{false};

    // Guarded by `mutex`, which nobody holds while reading a run or a file.
    mutable std::shared_mutex      mutex;
    std::shared_ptr<memtable>      active;  // as in *now
    std::shared_ptr<const sources> now;
    std::uint64_t                  flushes = 0;
    std::uint64_t                  merges  = 0;

    // The adding thread's.
    std::vector<std::int64_t>  known_versions;
    std::vector<runs_request> requests;
    std::vector<std::size_t>   asked;  // which entry each is for
};

// ---- Opening. ----------------------------------------------------------------------------

index::impl::impl(options o, std::function<void(const std::string&)> on_damage)
    : settings{std::move(o)}
    , hasher{settings.key}
    , key_check{hasher.key_check()}
    , tell_damage{std::move(on_damage)}
{
    if (settings.merge_fan_in < 2)
        throw error{errc::invalid_argument, "index: merge_fan_in must be at least 2"};
    replace({});
    if (!settings.directory.empty()) open_directory();
    active = std::make_shared<memtable>(now->checkpoint());
    replace({active, nullptr, now->runs});
}

/// Null where the file is damaged, which is told, or has vanished.
std::shared_ptr<const run> index::impl::open_run(const std::string& name, bool& vanished) const
{
    const auto path = settings.directory + '/' + name;
    try {
        if (!file_exists(path)) {
            vanished = true;
            return nullptr;
        }
        position first;
        position end;
        auto     r = run::open(path, key_check);
        if (!parse_run_file_name(name, first, end) || r->first() != first || r->end() != end)
            throw storage_error{errc::damaged_index,
                                "index run " + path + " holds other positions than its name says"};
        return r;
    } catch (const storage_error& e) {
        if (e.code() != errc::damaged_index) {
            // A merge in the writing process may have removed it since it was listed.
            if (!settings.read_only || file_exists(path)) throw;
            vanished = true;
            return nullptr;
        }
        if (tell_damage) tell_damage(e.what());
        return nullptr;
    }
}

void index::impl::open_directory()
{
    if (!settings.read_only)
        make_directory(settings.directory);
    else if (!file_exists(settings.directory))
        return;

    struct candidate
    {
        position    end;
        std::string name;
    };
    constexpr int tries_max = 100;
    for (int tries = 1;; ++tries) {
        std::multimap<position, candidate> by_first;
        std::vector<std::string>           surplus;
        for (auto& name : list_directory(settings.directory)) {
            position first;
            position end;
            if (parse_run_file_name(name, first, end))
                by_first.emplace(first, candidate{end, name});
            else if (name.ends_with(".run.tmp"))
                surplus.push_back(name);
        }

        run_list runs;
        bool     vanished = false;
        for (position at{0};;) {
            auto [begin, end] = by_first.equal_range(at);
            std::vector<candidate> widest_first;
            for (auto c = begin; c != end; ++c)
                widest_first.push_back(c->second);
            std::sort(widest_first.begin(), widest_first.end(),
                      [](const auto& a, const auto& b) { return a.end > b.end; });
            std::shared_ptr<const run> taken;
            for (const auto& c : widest_first) {
                if (!taken) taken = open_run(c.name, vanished);
                if (!taken || taken->end() != c.end) surplus.push_back(c.name);
            }
            if (!taken) break;
            at = taken->end();
            runs.push_back(std::move(taken));
            by_first.erase(begin, end);
        }
        if (vanished && tries < tries_max) continue;
        for (const auto& [first, c] : by_first)
            surplus.push_back(c.name);
        if (!settings.read_only)
            for (const auto& name : surplus)
                remove_file(settings.directory + '/' + name);
        replace({nullptr, nullptr, std::move(runs)});
        return;
    }
}

index::index(options o, std::function<void(const std::string&)> on_damage)
    : impl_{std::make_unique<impl>(std::move(o), std::move(on_damage))}
{
}

index::~index() = default;

const term_hasher& index::hasher() const noexcept
{
    return impl_->hasher;
}

position index::checkpoint() const
{
    std::shared_lock lock{impl_->mutex};
    return impl_->now->checkpoint();
}

position index::end() const
{
    std::shared_lock lock{impl_->mutex};
    return impl_->active->end();
}

// ---- Adding. -----------------------------------------------------------------------------

/// What each entry's stream has come to before all of them. Done without the lock, as it may
/// have to read a run; it stays true, because only the adding thread adds.
void index::impl::know_versions(std::span<const index_entry> entries)
{
    known_versions.assign(entries.size(), 0);
    requests.clear();
    asked.clear();
    std::shared_ptr<const sources> at_start;
    constexpr std::size_t ahead = 8;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        const auto& e = entries[i];
        if (e.version) known_versions[i] = e.version->value;
        if (!e.stream || e.version) continue;
        if (!at_start) at_start = view();
        if (i + ahead < entries.size())
            at_start->any_memtable([&](const memtable& m) {
                m.prefetch_stream(entries[i + ahead].stream);
                return false;
            });
        const bool in_memory = at_start->any_memtable([&](const memtable& m) {
            const auto* slot = m.find_stream(e.stream);
            if (slot != nullptr) known_versions[i] = slot->end_version();
            return slot != nullptr;
        });
        if (in_memory) continue;
        requests.push_back({&e.stream, {}, {}, nullptr});
        asked.push_back(i);
    }
    if (requests.empty()) return;
    heads_in_runs(at_start->runs, requests);
    for (std::size_t n = 0; n < asked.size(); ++n)
        if (const auto& found = requests[n].found) known_versions[asked[n]] = found->count;
}

version index::add(const index_entry& e)
{
    version v{-1};
    add({&e, 1}, {&v, 1});
    return v;
}

void index::add(std::span<const index_entry> entries, std::span<version> versions)
{
    impl_->know_versions(entries);

    std::unique_lock lock{impl_->mutex};
    auto&            m    = *impl_->active;
    auto             next = m.end();
    for (const auto& e : entries) {
        if (e.position < next)
            throw error{errc::invalid_argument, "index: positions must be added in order"};
        next = e.position.next();
    }
    m.reserve_more(entries);
    for (std::size_t i = 0; i < entries.size(); ++i)
        versions[i] = m.add(entries[i], impl_->known_versions[i]);
}

void index::set_end(position end)
{
    std::unique_lock lock{impl_->mutex};
    if (end < impl_->active->end())
        throw error{errc::invalid_argument, "index: the end never goes back"};
    impl_->active->set_end(end);
}

// ---- Lookups. ----------------------------------------------------------------------------

stream_head index::head(term stream, lookup_hint<stream_head>* hint) const
{
    std::shared_ptr<const sources> s;
    {
        std::shared_lock lock{impl_->mutex};
        stream_head      in_memory;
        const bool       found = impl_->now->any_memtable([&](const memtable& m) {
            const auto* slot = m.find_stream(stream);
            if (slot != nullptr) in_memory = m.head(*slot);
            return slot != nullptr;
        });
        if (found) return in_memory;
        if (hint != nullptr && hint->below == impl_->now->checkpoint()) return hint->found;
        s = impl_->now;
    }
    const auto from = hint != nullptr ? hint->below : position{0};
    const auto found = head_in_runs(s->runs, stream, from);
    if (hint == nullptr) return found.value_or(stream_head{});
    if (found) hint->found = *found;
    hint->below = s->checkpoint();
    return hint->found;
}

void index::heads(std::span<head_request> requests) const
{
    constexpr std::size_t    window = 64;  // the lock is held for so many
    std::vector<runs_request> open;
    for (; !requests.empty(); requests = requests.subspan(std::min(window, requests.size()))) {
        const auto                     some = requests.first(std::min(window, requests.size()));
        std::shared_ptr<const sources> s;
        {
            std::shared_lock lock{impl_->mutex};
            s = impl_->now;
            for (const auto& r : some)
                s->any_memtable([&](const memtable& m) {
                    m.prefetch_stream(r.stream);
                    return false;
                });
            open.clear();
            for (auto& r : some) {
                const bool found = s->any_memtable([&](const memtable& m) {
                    const auto* slot = m.find_stream(r.stream);
                    if (slot != nullptr) r.head = m.head(*slot);
                    return slot != nullptr;
                });
                const auto below = r.hint != nullptr ? r.hint->below : position{0};
                if (!found) open.push_back({&r.stream, below, {}, &r});
            }
        }
        heads_in_runs(s->runs, open);
        for (const auto& o : open) {
            o.asker->head = o.found           ? *o.found
                            : o.asker->hint != nullptr ? o.asker->hint->found
                                                       : stream_head{};
            if (o.asker->hint != nullptr) *o.asker->hint = {s->checkpoint(), o.asker->head};
        }
    }
}

namespace {

/// No caller wants more at once; below it versions do not overflow.
constexpr std::size_t stream_events_max = std::size_t{1} << 40;

/// What one memtable or run has of a stream.
struct stream_stretch
{
    const memtable*       table = nullptr;  // else
    const run*            from  = nullptr;
    memtable::stream_slot slot{};
    stream_entry          entry;

    std::int64_t first() const noexcept
    {
        return table != nullptr ? slot.first_version : entry.first_version;
    }
    std::int64_t end() const noexcept
    {
        return first() + (table != nullptr ? slot.count : entry.count);
    }

    /// Appends the events with versions [a, z), which it has, ascending.
    void read(std::int64_t a, std::int64_t z, std::vector<stream_posting>& out) const
    {
        const auto begin = out.size();
        if (table != nullptr) {
            out.resize(begin + static_cast<std::size_t>(z - a));
            auto node = table->node_of(slot, z - 1);
            for (auto v = z - 1; v >= a; --v) {
                const auto& e = table->event(node);
                node          = e.previous;
                out[begin + static_cast<std::size_t>(v - a)] = {
                    version{v}, position{e.position}, slot.partition_uid, offset{e.offset},
                    e.at,       e.check};
            }
            return;
        }
        stream_cursor cursor{*from};
        for (auto v = a; v < z; ++v) {
            const auto p = cursor.at(entry, static_cast<std::uint32_t>(v - first()));
            out.push_back({version{v}, from->first() + p.position, entry.partition_uid,
                           offset{entry.first_offset + p.offset}, p.at, p.check});
        }
    }
};

}  // namespace

std::vector<stream_posting> index::stream(term stream, version from, direction d,
                                          std::size_t max) const
{
    const bool forward = d == direction::forward;
    const auto wanted  = static_cast<std::int64_t>(std::min(max, stream_events_max));
    std::vector<stream_posting> out;
    if (wanted == 0 || (!forward && from.value < 0)) return out;

    // The versions [low, high) are what is wanted; the newest stretch found tells which of them
    // there are.
    auto low  = std::clamp<std::int64_t>(from.value, 0, std::int64_t{1} << 62);
    auto high = low + (forward ? wanted : 1);

    std::vector<stream_stretch>    stretches;  // newest first
    std::shared_ptr<const sources> s;
    const auto                     found = [&](stream_stretch&& stretch) {
        if (stretches.empty()) {
            high = std::min(high, stretch.end());
            if (!forward) low = std::max<std::int64_t>(high - wanted, 0);
        }
        stretches.push_back(std::move(stretch));
    };
    const auto complete = [&] { return !stretches.empty() && stretches.back().first() <= low; };
    {
        std::shared_lock lock{impl_->mutex};
        s = impl_->now;
        s->any_memtable([&](const memtable& m) {
            if (const auto* slot = m.find_stream(stream)) found({&m, nullptr, *slot, {}});
            return complete();
        });
    }
    for (auto r = s->runs.rbegin(); r != s->runs.rend() && !complete(); ++r) {
        stream_entry e;
        if ((*r)->streams().find(stream, e)) found({nullptr, r->get(), {}, e});
    }

    for (auto piece = stretches.rbegin(); piece != stretches.rend(); ++piece) {
        const auto a = std::max(low, piece->first());
        const auto z = std::min(high, piece->end());
        if (a < z) piece->read(a, z, out);
    }
    if (!forward) std::reverse(out.begin(), out.end());
    return out;
}

std::optional<position> index::last_match(const query_terms& q, std::optional<position> after,
                                          position before,
                                          lookup_hint<std::optional<position>>* hint) const
{
    const auto from = after ? std::max<std::int64_t>(after->value + 1, 0) : 0;
    if (before.value <= from) return std::nullopt;

    std::shared_ptr<const sources>                  s;
    boost::container::small_vector<memtable_query, 2> in_memory;
    {
        std::shared_lock lock{impl_->mutex};
        s = impl_->now;
        s->any_memtable([&](const memtable& m) {
            if (m.end().value > from) in_memory.emplace_back(m, q);
            return m.first().value <= from;
        });
    }
    for (auto& m : in_memory)
        if (const auto found = m.previous(before.value - 1, from)) return position{*found};

    const auto checkpoint = s->checkpoint();
    if (checkpoint.value <= from) return std::nullopt;
    if (hint == nullptr || before < checkpoint)
        return last_match_in_runs(s->runs, q, from, before.value);

    if (hint->below < checkpoint) {
        const auto newer = last_match_in_runs(s->runs, q, std::max(from, hint->below.value),
                                              before.value);
        if (newer) hint->found = newer;
        hint->below = checkpoint;
    }
    if (hint->found && hint->found->value < from) return std::nullopt;
    return hint->found;
}

namespace {

void forward(run_query query, std::int64_t from, std::int64_t before, std::size_t max,
             std::vector<position>& out)
{
    while (out.size() < max) {
        const auto found = query.next(from);
        if (!found || *found >= before) return;
        out.push_back(position{*found});
        from = *found + 1;
    }
}

template <class Previous>
void backward(Previous&& previous, std::int64_t from, std::int64_t before, std::size_t max,
              std::vector<position>& out)
{
    for (auto bound = before - 1; out.size() < max;) {
        const auto found = previous(bound);
        if (!found || *found < from) return;
        out.push_back(position{*found});
        bound = *found - 1;
    }
}

}  // namespace

std::vector<position> index::matches(const query_terms& q, position from, position before,
                                     direction d, std::size_t max) const
{
    std::vector<position> out;
    const auto            low = std::max<std::int64_t>(from.value, 0);
    if (max == 0 || before.value <= low) return out;

    std::shared_ptr<const sources>                  s;
    boost::container::small_vector<memtable_query, 2> in_memory;  // newest first
    {
        std::shared_lock lock{impl_->mutex};
        s = impl_->now;
        s->any_memtable([&](const memtable& m) {
            if (m.end().value > low && m.first() < before) in_memory.emplace_back(m, q);
            return m.first().value <= low;
        });
    }

    const auto overlaps = [&](const run& r) { return r.first() < before && r.end().value > low; };
    if (d == direction::forward) {
        for (auto r = s->runs.begin(); r != s->runs.end() && out.size() < max; ++r)
            if (overlaps(**r)) forward(run_query{**r, q}, low, before.value, max, out);
        for (auto m = in_memory.rbegin(); m != in_memory.rend() && out.size() < max; ++m)
            m->forward(low, before.value, max, out);
        return out;
    }
    for (auto m = in_memory.begin(); m != in_memory.end() && out.size() < max; ++m)
        backward([&](auto bound) { return m->previous(bound, low); }, low, before.value, max, out);
    for (auto r = s->runs.rbegin(); r != s->runs.rend() && out.size() < max; ++r) {
        if (!overlaps(**r)) continue;
        run_query query{**r, q};
        backward([&](auto bound) { return query.previous(bound); }, low, before.value, max, out);
    }
    return out;
}

std::optional<command_found> index::command(term id) const
{
    std::optional<command_found>   found;
    std::shared_ptr<const sources> s;
    const auto older = [&](const command_found& c) {
        // An append may lie across two of them; an id that came back later is not the same one.
        const bool continued = found && c.first + c.count == found->first;
        found = command_found{c.first, c.count + (continued ? found->count : 0)};
    };
    {
        std::shared_lock lock{impl_->mutex};
        s = impl_->now;
        s->any_memtable([&](const memtable& m) {
            if (const auto c = m.find_command(id)) older(*c);
            return false;
        });
    }
    for (const auto& r : s->runs)
        r->commands().prefetch(id);
    for (auto r = s->runs.rbegin(); r != s->runs.rend(); ++r) {
        command_entry e;
        if ((*r)->commands().find(id, e)) older({(*r)->first() + e.first, e.count});
    }
    return found;
}

void index::each_stream(const std::function<bool(term, const stream_head&)>& f) const
{
    std::map<term, stream_head>    in_memory;
    std::shared_ptr<const sources> s;
    {
        std::shared_lock lock{impl_->mutex};
        s = impl_->now;
        s->any_memtable([&](const memtable& m) {
            m.each_stream([&](const memtable::stream_slot& slot) {
                in_memory.try_emplace(slot.hash, m.head(slot));
            });
            return false;
        });
    }
    bool go_on = true;
    each_stream_head(s->runs, [&](const term& t, const stream_head& h) {
        if (!in_memory.contains(t)) go_on = f(t, h);
        return go_on;
    });
    for (auto i = in_memory.begin(); go_on && i != in_memory.end(); ++i)
        go_on = f(i->first, i->second);
}

// ---- Maintenance. ------------------------------------------------------------------------

std::shared_ptr<const run> index::impl::make_run(position first, position end,
                                                 const run_counts& counts, bool in_memory,
                                                 const fill_run& fill) const
{
    const run_layout layout{counts};
    if (in_memory) {
        memory_sink sink{layout.bytes};
        run_writer  writer{sink, first, end, key_check, counts};
        fill(writer);
        return run::in_memory(sink.take(), run_file_name(first, end), key_check);
    }
    const auto     path = path_of(first, end);
    temporary_file temporary{path + ".tmp"};
    temporary.get().truncate(layout.bytes);
    file_sink  sink{temporary.get()};
    run_writer writer{sink, first, end, key_check, counts};
    fill(writer);
    temporary.publish_as(path);
    return run::open(path, key_check);
}

/// False where there is nothing in memory.
bool index::impl::freeze()
{
    std::unique_lock lock{mutex};
    if (now->frozen) return true;  // an earlier flush failed
    if (active->end() == now->checkpoint()) return false;
    auto next = std::make_shared<memtable>(*active);
    replace({next, active, now->runs});
    active = std::move(next);
    return true;
}

void index::impl::write_frozen()
{
    const auto before = view();
    const auto& m     = *before->frozen;
    const bool  in_memory = settings.directory.empty() || settings.read_only;
    run_list   made;
    for (auto first = m.first(); first < m.end();) {
        const auto end = std::min(m.end(), first + run_positions_max);
        const memtable::selection selected{m, first, end};
        made.push_back(make_run(first, end, selected.counts(), in_memory,
                                [&](run_writer& to) { selected.write(to); }));
        first = end;
    }
    std::unique_lock lock{mutex};
    auto             runs = now->runs;  // a merge may have changed them meanwhile
    runs.insert(runs.end(), made.begin(), made.end());
    replace({active, nullptr, std::move(runs)});
    ++flushes;
}

void index::flush()
{
    std::lock_guard flushing{impl_->flush_mutex};
    const bool      left_over = impl_->view()->frozen != nullptr;
    if (impl_->freeze()) impl_->write_frozen();
    if (left_over && impl_->freeze()) impl_->write_frozen();
}

std::shared_ptr<const run> index::impl::merge_runs(const merge_job& job)
{
    const auto newest = job.sources.back();
    const auto tick   = [this, &newest] {
        if (stopping.load(std::memory_order_relaxed)) throw merge_stopped{};
        // What is newer than this merge's inputs may be merged in the middle of it.
        const auto  s     = view();
        std::size_t first = s->runs.size();
        while (first > 0 && s->runs[first - 1] != newest)
            --first;
        while (merge_after(first) && !stopping.load(std::memory_order_relaxed)) {
        }
    };
    const sequential_reading reading{job.sources};
    const auto               counts = count_merged(job, tick);
    return make_run(job.first, job.end, counts, settings.directory.empty(),
                    [&](run_writer& to) { write_merged(job, to, tick); });
}

/// Merges what the policy asks for among the runs from number `first` on.
bool index::impl::merge_after(std::size_t first)
{
    const auto s = view();
    if (settings.read_only || s->runs.size() < first + settings.merge_fan_in) return false;
    std::vector<std::uint64_t> sizes;
    for (auto i = first; i < s->runs.size(); ++i)
        sizes.push_back(std::max(s->runs[i]->bytes(), small_run_bytes));
    const auto picked = pick_merge(sizes, settings.merge_fan_in, [&](auto begin, auto end) {
        std::uint64_t postings = 0;
        for (auto i = first + begin; i < first + end; ++i) {
            const auto c = s->runs[i]->counts();
            postings += c.term_postings + c.terms * term_inline_max;
        }
        const auto positions = s->runs[first + end - 1]->end() - s->runs[first + begin]->first();
        return positions <= run_positions_max &&
               postings <= static_cast<std::uint64_t>(run_positions_max);
    });
    if (!picked) return false;

    merge_job  job;
    const auto runs_at = [](const run_list& v, std::size_t i) {
        return v.begin() + static_cast<std::ptrdiff_t>(i);
    };
    job.sources.assign(runs_at(s->runs, first + picked->first),
                       runs_at(s->runs, first + picked->second));
    job.first = job.sources.front()->first();
    job.end   = job.sources.back()->end();
    auto made = merge_runs(job);
    {
        std::unique_lock lock{mutex};
        auto             runs = now->runs;
        const auto begin = std::find(runs.begin(), runs.end(), job.sources.front());
        const auto end   = std::find(begin, runs.end(), job.sources.back()) + 1;
        *begin           = std::move(made);
        runs.erase(begin + 1, end);
        replace({active, now->frozen, std::move(runs)});
        ++merges;
    }
    for (const auto& r : job.sources)
        if (r->is_file()) remove_file(r->name());
    return true;
}

bool index::merge()
{
    std::lock_guard merging{impl_->merge_mutex};
    try {
        return !impl_->stopping.load(std::memory_order_relaxed) && impl_->merge_after(0);
    } catch (const merge_stopped&) {
        return false;
    }
}

void index::stop_merging() noexcept
{
    impl_->stopping.store(true, std::memory_order_relaxed);
}

std::string index::impl::slice_of(const merge_job& job) const
{
    const auto  counts = count_merged(job, {});
    memory_sink sink{run_layout{counts}.bytes};
    run_writer  writer{sink, job.first, job.end, key_check, counts};
    write_merged(job, writer, {});
    return sink.take();
}

std::string index::slice(position first, position end) const
{
    const auto s = impl_->view();
    if (first.value < 0 || end < first || end > s->checkpoint() ||
        end - first > run_positions_max)
        throw error{errc::invalid_argument, "index: no such slice"};
    merge_job job{{}, first, end};
    for (const auto& r : s->runs)
        if (r->first() < end && first < r->end()) job.sources.push_back(r);
    return impl_->slice_of(job);
}

void index::add_slice(bytes_view bytes)
{
    auto r = run::in_memory(std::string{bytes}, "slice", impl_->key_check);
    r->verify([](const std::string& fault) { throw storage_error{errc::damaged_index, fault}; });
    if (r->first() > end())
        throw error{errc::invalid_argument, "index: a slice must not begin after the index's end"};
    if (r->end() <= end()) return;
    if (r->first() < end())
        r = run::in_memory(impl_->slice_of({{r}, end(), r->end()}), "slice", impl_->key_check);
    flush();

    std::lock_guard flushing{impl_->flush_mutex};
    const auto      s = impl_->view();
    for (std::uint64_t i = 0; i < r->streams().size(); ++i) {
        const auto e     = r->streams().peek(i);
        const auto known = head_in_runs(s->runs, e.hash, position{0});
        if (known && known->count != e.first_version)
            throw storage_error{errc::damaged_index,
                                "index: a slice does not go on where its streams are"};
    }
    const bool in_memory = impl_->settings.directory.empty() || impl_->settings.read_only;
    auto       made      = r;
    if (!in_memory) {
        const auto     path = impl_->path_of(r->first(), r->end());
        temporary_file temporary{path + ".tmp"};
        temporary.get().write_at(0, r->whole());
        temporary.publish_as(path);
        made = run::open(path, impl_->key_check);
    }
    std::unique_lock lock{impl_->mutex};
    auto             runs = impl_->now->runs;
    runs.push_back(std::move(made));
    auto next = std::make_shared<memtable>(r->end());
    impl_->replace({next, nullptr, std::move(runs)});
    impl_->active = std::move(next);
}

void index::verify(const std::function<void(const std::string&)>& fault) const
{
    const auto s = impl_->view();
    for (const auto& r : s->runs)
        r->verify(fault);
}

index_statistics index::statistics() const
{
    std::shared_lock lock{impl_->mutex};
    index_statistics st;
    impl_->now->any_memtable([&](const memtable& m) {
        st.entries_in_memory += m.entries();
        st.bytes_in_memory += m.bytes();
        return false;
    });
    for (const auto& r : impl_->now->runs)
        st.run_bytes += r->bytes();
    st.runs    = impl_->now->runs.size();
    st.flushes = impl_->flushes;
    st.merges  = impl_->merges;
    return st;
}

}  // namespace cairn::detail
