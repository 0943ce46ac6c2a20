// SPDX-License-Identifier: Apache-2.0
//
// Random operations against the log and against a model of it that is too simple to be wrong: a
// list of all records. Each run is a fresh log, in memory or in a directory, with options that
// make it merge, roll, flush and fold often; after each operation something is read and compared.
//
//     CAIRN_SEED=123456 log.model        that run alone
//     CAIRN_LONG=1 log.model             twenty times as many
//     CAIRN_TRACE=1 log.model            says what it does
#include <cairn/log/commit_log.hpp>
#include <cairn/log/record_batch.hpp>

#include "main/seed.hpp"
#include "main/temporary_directory.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <barrier>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using namespace cairn;
using cairn::testing::given_seed;
using cairn::testing::place;
using cairn::testing::seed;
using cairn::testing::temporary_directory;

namespace {

namespace fs = std::filesystem;

/// What went differently; the seed is added by whoever runs it.
struct mismatch : std::runtime_error
{
    using std::runtime_error::runtime_error;
};

template <class... Parts>
void expect(bool as_it_should_be, const Parts&... parts)
{
    if (as_it_should_be) return;
    std::ostringstream all;
    (all << ... << parts);
    throw mismatch{all.str()};
}

template <class... Parts>
void trace(const Parts&... parts)
{
    static const bool wanted = std::getenv("CAIRN_TRACE") != nullptr;
    if (wanted) (std::cout << ... << parts) << '\n';
}

/// "T1,T2/t0,t3; /t1"
std::string written(const query& q)
{
    std::string all;
    for (const query::item& i : q.items)
        all += (all.empty() ? "" : "; ") + join_tags(i.types) + "/" + join_tags(i.tags);
    return '"' + all + '"';
}

// ---- The model. ------------------------------------------------------------------------------

struct a_record
{
    std::int64_t               position = 0;
    std::string                topic;
    int                        generation = 0;  ///< of its topic: which of that name
    std::int32_t               partition  = 0;
    std::int64_t               offset     = 0;
    std::int64_t               version    = -1;
    std::optional<std::string> key;
    std::optional<std::string> value;
    std::string                type;
    std::set<std::string>      tags;
    std::int64_t               time = 0;
    bool                       gone = false;  ///< by retention, compaction, deletion
};

struct a_topic
{
    int                       generation = 0;
    bool                      compacted  = false;
    std::int64_t              retention_ms = -1;
    std::vector<std::int64_t> start, end;

    std::int32_t partitions() const { return static_cast<std::int32_t>(end.size()); }
};

/// What is remembered of an idempotent producer in one partition.
struct a_producer
{
    std::int32_t next = 0;
    struct sent
    {
        std::int32_t first;
        int          count;
        receipt      answer;
    };
    std::deque<sent> last_five;
};

struct model
{
    std::vector<a_record>                         records;  ///< all that ever were, by position
    std::map<std::string, a_topic>                topics;
    int                                           generations = 0;
    std::map<std::string, receipt>                commands;
    std::map<std::pair<std::int64_t, topic_partition>, a_producer>      producers;
    std::map<std::string, std::map<topic_partition, std::int64_t>>      groups;
    std::map<std::pair<std::string, std::string>, std::int32_t>         places;  ///< of streams

    static bool matches(const query& q, const a_record& r)
    {
        return std::any_of(q.items.begin(), q.items.end(), [&](const query::item& i) {
            return (i.types.empty() ||
                    std::find(i.types.begin(), i.types.end(), r.type) != i.types.end()) &&
                   std::all_of(i.tags.begin(), i.tags.end(),
                               [&](const std::string& t) { return r.tags.count(t) > 0; });
        });
    }

    bool is_of(const a_record& r, const stream_id& s) const
    {
        const auto t = topics.find(s.topic);
        return t != topics.end() && r.topic == s.topic && r.generation == t->second.generation &&
               r.key == s.key;
    }

    std::int64_t version_of(const stream_id& s) const
    {
        return std::count_if(records.begin(), records.end(),
                             [&](const a_record& r) { return is_of(r, s); });
    }

    /// The newest that matches, also where the record itself is gone.
    std::optional<std::int64_t> last_match(const query& q) const
    {
        for (auto r = records.rbegin(); r != records.rend(); ++r)
            if (matches(q, *r)) return r->position;
        return std::nullopt;
    }

    template <class Wanted>
    std::vector<const a_record*> all(Wanted&& wanted) const
    {
        std::vector<const a_record*> found;
        for (const a_record& r : records)
            if (!r.gone && wanted(r)) found.push_back(&r);
        return found;
    }
};

// ---- One run. --------------------------------------------------------------------------------

class run
{
public:
    run(std::uint64_t seed, const fs::path& directory);
    void go(int steps);

    int operations() const noexcept { return operations_; }

private:
    using random = std::mt19937_64;

    // ---- Choosing. -----------------------------------------------------------------------

    int up_to(int n) { return static_cast<int>(random_() % static_cast<std::uint64_t>(n)); }
    bool one_in(int n) { return up_to(n) == 0; }

    template <class List>
    const auto& one_of(const List& list)
    {
        return list[static_cast<std::size_t>(up_to(static_cast<int>(std::size(list))))];
    }

    std::string                a_topic_name() { return one_of(names_); }
    std::optional<std::string> an_existing_topic();
    std::string                a_key() { return "k" + std::to_string(up_to(5)); }
    stream_id                  a_stream();
    query                      a_query();
    append_record              an_event(const std::string& topic);
    position                   a_position();

    // ---- Doing. --------------------------------------------------------------------------

    void create_topic();
    void delete_topic();
    void add_partitions();
    void append();
    void append_bulk();
    void append_batch();
    void append_at_once();
    void commit_offset();
    void truncate();
    void clean();
    void reopen();
    void merge_or_roll();

    // ---- Comparing. ----------------------------------------------------------------------

    void look();
    void look_at_everything();
    void look_at_partition();
    void look_at_stream();
    void look_at_query();
    void look_at_all();
    void look_at_topics();
    void look_at_tails();
    void look_at_tail(record_range& range, std::int64_t seen);
    void compare(record_range&& got, std::vector<const a_record*> want, bool with_version,
                 const char* what);
    void same(const record_view& got, const a_record& want, bool with_version, const char* what);

    void         record(const append_request& request, const receipt& r, timestamp now);
    void         put(const append_record& e, const placement& at, std::int64_t position,
                     timestamp now);
    std::int32_t place_of(const append_record& e);

    struct verdict
    {
        std::optional<errc>         refused;
        std::size_t                 boundary = 0;
        std::optional<std::int64_t> found_position;
        std::int64_t                found_version = -1;
    };
    verdict judge(const append_request& request) const;

    void open();

    random                                   random_;
    fs::path                                 directory_;
    bool                                     on_disk_;
    log_options                              options_;
    std::atomic<std::int64_t>                now_ = 1'700'000'000'000;
    std::optional<commit_log>                log_;
    model                                    model_;
    std::vector<std::string>                 names_ = {"orders", "notes", "table"};
    std::int64_t                             end_   = 0;  ///< of the log, internal records too
    int                                      operations_ = 0;
    int                                      commands_   = 0;
    std::vector<std::pair<record_range, std::int64_t>> tails_;  ///< and up to where they are
};

run::run(std::uint64_t seed, const fs::path& directory)
    : random_{seed}, directory_{directory}, on_disk_{one_in(3)}
{
    options_.clock                   = [this] { return timestamp{now_.load()}; };
    options_.merge_interval          = std::chrono::milliseconds{one_in(2) ? 1 : 3'600'000};
    options_.merge_bytes             = one_in(2) ? 2048 : 8 << 20;
    options_.segment_bytes_max       = one_in(2) ? 32 << 10 : 1 << 20;
    options_.index_entries_in_memory = static_cast<std::uint64_t>(one_in(2) ? 1 + up_to(20) : 9999);
    options_.journal_bytes           = 1 << 20;
    options_.partitioner             = round_robin_partitioner();
    options_.cleanup_interval        = std::chrono::milliseconds{0};
    open();
}

void run::open()
{
    log_.emplace(on_disk_ ? commit_log::open(directory_.string(), options_)
                          : commit_log::in_memory(options_));
}

std::optional<std::string> run::an_existing_topic()
{
    if (model_.topics.empty()) return std::nullopt;
    auto t = model_.topics.begin();
    std::advance(t, up_to(static_cast<int>(model_.topics.size())));
    return t->first;
}

stream_id run::a_stream()
{
    return {*an_existing_topic(), a_key()};
}

query run::a_query()
{
    query q;
    for (int items = up_to(3); items >= 0; --items) {
        query::item i;
        for (int n = up_to(3); n > 0; --n) i.types.push_back("T" + std::to_string(up_to(3)));
        for (int n = up_to(3); n > 0; --n) i.tags.push_back("t" + std::to_string(up_to(4)));
        q.items.push_back(std::move(i));
    }
    if (one_in(20)) q.items.clear();
    return q;
}

append_record run::an_event(const std::string& topic)
{
    append_record e;
    e.topic = topic;
    if (model_.topics.at(topic).compacted || !one_in(4)) e.record.key = a_key();
    if (!one_in(10)) {
        e.record.value = "v" + std::to_string(random_() % 1000);
        if (one_in(15)) e.record.value->append(3000, 'x');
    }
    if (!one_in(4)) e.record.headers.push_back({"ce_type", "T" + std::to_string(up_to(3))});
    if (std::vector<std::string> tags; !one_in(3)) {
        for (int n = up_to(3); n >= 0; --n) tags.push_back("t" + std::to_string(up_to(4)));
        e.record.headers.push_back({"ce_tags", join_tags(tags)});
    }
    if (!e.record.key && one_in(3)) e.partition = up_to(model_.topics.at(topic).partitions());
    return e;
}

position run::a_position()
{
    return position{up_to(static_cast<int>(end_) + 1)};
}

// ---- Topics. ---------------------------------------------------------------------------------

void run::create_topic()
{
    const std::string name = a_topic_name();
    topic_config      config;
    config.cleanup_compact = name == "table";
    config.cleanup_delete  = name != "table";
    if (name == "notes") config.retention_ms = 10'000;
    const int  partitions = 1 + up_to(3);
    const bool made       = log_->ensure_topic(name, partitions, config);
    expect(made == (model_.topics.count(name) == 0), "ensure_topic ", name, " said ", made);
    if (!made) return;
    a_topic& t     = model_.topics[name];
    t.generation   = ++model_.generations;
    t.compacted    = config.cleanup_compact;
    t.retention_ms = config.retention_ms;
    t.start.assign(static_cast<std::size_t>(partitions), 0);
    t.end = t.start;
    std::erase_if(model_.places, [&](const auto& p) { return p.first.first == name; });
}

void run::delete_topic()
{
    const std::string name = *an_existing_topic();
    log_->delete_topic(name);
    for (a_record& r : model_.records)
        if (r.topic == name) r.gone = true;
    model_.topics.erase(name);
    std::erase_if(model_.producers, [&](const auto& p) { return p.first.second.topic == name; });
    for (auto& [group, offsets] : model_.groups)
        std::erase_if(offsets, [&](const auto& o) { return o.first.topic == name; });
    std::erase_if(model_.groups, [](const auto& g) { return g.second.empty(); });
}

void run::add_partitions()
{
    const std::string name = *an_existing_topic();
    a_topic&          t    = model_.topics.at(name);
    if (t.partitions() > 8) return;
    const std::int32_t total = t.partitions() + 1 + up_to(2);
    log_->add_partitions(name, total);
    t.start.resize(static_cast<std::size_t>(total), 0);
    t.end.resize(static_cast<std::size_t>(total), 0);
}

// ---- Appending. ------------------------------------------------------------------------------

run::verdict run::judge(const append_request& request) const
{
    for (const stream_condition& c : request.expect) {
        const std::int64_t found = model_.version_of(c.stream);
        if (!c.expected.accepts(version{found}))
            return {errc::wrong_expected_version, 0, std::nullopt, found};
    }
    for (std::size_t i = 0; i < request.boundaries.size(); ++i) {
        const boundary& b = request.boundaries[i];
        if (b.after && b.after->value >= end_) return {errc::condition_beyond_head, i, {}, -1};
        const auto last = model_.last_match(b.matching);
        if (last && (!b.after || *last > b.after->value))
            return {errc::boundary_crossed, i, last, -1};
    }
    return {};
}

/// Where a keyed record must go; -1 where it is the partitioner's turn.
std::int32_t run::place_of(const append_record& e)
{
    if (e.partition) return *e.partition;
    if (!e.record.key) return -1;
    const auto known = model_.places.find({e.topic, *e.record.key});
    return known != model_.places.end()
               ? known->second
               : partition_for_key(*e.record.key, model_.topics.at(e.topic).partitions());
}

void run::put(const append_record& e, const placement& at, std::int64_t position, timestamp now)
{
    a_topic&           t         = model_.topics.at(e.topic);
    const std::int32_t number    = at.at.partition;
    const std::int32_t should_be = place_of(e);
    expect(at.at.topic == e.topic && number >= 0 && number < t.partitions(), "went to ", at.at);
    expect(should_be == -1 || should_be == number, e.topic, "/", e.record.key.value_or("-"),
           " went to partition ", number, ", not ", should_be);
    std::int64_t& end = t.end[static_cast<std::size_t>(number)];
    expect(at.offset.value == end, at.at, ": offset ", at.offset, ", not ", end);

    a_record r;
    r.position   = position;
    r.topic      = e.topic;
    r.generation = t.generation;
    r.partition  = number;
    r.offset     = end++;
    r.key        = e.record.key;
    r.value      = e.record.value;
    r.time       = e.record.timestamp.value_or(now).value;
    for (const header& h : e.record.headers) {
        if (h.name == "ce_type") r.type = *h.value;
        if (h.name == "ce_tags")
            for (const std::string& tag : split_tags(*h.value)) r.tags.insert(tag);
    }
    if (r.key) {
        r.version                               = model_.version_of({r.topic, *r.key});
        model_.places[{r.topic, *r.key}] = number;
    }
    expect(at.version.value == r.version, at.at, "@", at.offset, ": version ", at.version,
           ", not ", r.version);
    model_.records.push_back(std::move(r));
}

void run::record(const append_request& request, const receipt& r, timestamp now)
{
    expect(!r.repeated, "said to be a repeat, and is none");
    expect(r.records.size() == request.records.size(), "a receipt of ", r.records.size());
    expect(r.first.value == end_, "first position ", r.first, ", not ", end_);
    for (std::size_t i = 0; i < r.records.size(); ++i)
        put(request.records[i], r.records[i], end_++, now);
    if (request.command_id) model_.commands[*request.command_id] = r;
}

void run::append()
{
    append_request request;
    for (int n = up_to(4); n >= 0; --n)
        request.records.push_back(an_event(*an_existing_topic()));
    if (one_in(4)) {
        const bool again   = commands_ > 0 && one_in(2);
        request.command_id = "c" + std::to_string(again ? up_to(commands_) : commands_++);
    }
    for (int n = up_to(3); n > 0; --n) {
        const stream_id s = a_stream();
        const auto      v = model_.version_of(s);
        switch (up_to(6)) {
        case 0: request.expect.push_back({s, expected_version::any()}); break;
        case 1: request.expect.push_back({s, expected_version::exists()}); break;
        case 2: request.expect.push_back({s, expected_version::no_stream()}); break;
        case 3: request.expect.push_back({s, expected_version::exactly(version{v + 1})}); break;
        default: request.expect.push_back({s, expected_version::exactly(version{v})}); break;
        }
    }
    for (int n = up_to(3) - 1; n > 0; --n) {
        boundary b{a_query(), std::nullopt};
        if (const auto last = model_.last_match(b.matching); last && !one_in(4))
            b.after = position{*last - (one_in(4) ? 1 : 0)};
        else if (!one_in(3))
            b.after = position{end_ - 1 + (one_in(10) ? 1 : 0)};
        request.boundaries.push_back(std::move(b));
    }

    const timestamp     now{now_};
    std::optional<append_result> made;
    try {
        made = log_->try_append(request);
    } catch (const error& e) {
        // A repeat whose records retention has taken cannot be answered with its receipt.
        expect(e.code() == errc::command_reused, e.what());
        const auto known = model_.commands.find(request.command_id.value_or(""));
        expect(known != model_.commands.end(), "a command said to be reused, and is new");
        const std::int64_t first = known->second.first.value;
        const auto         last  = known->second.last().value;
        expect(std::any_of(model_.records.begin(), model_.records.end(),
                           [&](const a_record& r) {
                               return r.position >= first && r.position <= last && r.gone;
                           }),
               "a command said to be reused, and its records are there: ", e.what());
        return;
    }
    const append_result& result = *made;
    if (request.command_id && model_.commands.count(*request.command_id)) {
        expect(result.has_value() && result->repeated, "a repeat was not recognised");
        const receipt& first = model_.commands.at(*request.command_id);
        expect(result->first == first.first, "a repeat's receipt has another position");
        for (std::size_t i = 0; i < first.records.size(); ++i) {
            const placement& was = first.records[i];
            const placement& is  = result->records.at(i);
            expect(is == was, "a repeat's record ", i, " is in ", is.at, "@", is.offset,
                   " with version ", is.version, ", not in ", was.at, "@", was.offset, " with ",
                   was.version);
        }
        expect(result->records.size() == first.records.size(), "a repeat has more records");
        return;
    }
    const verdict v = judge(request);
    if (!v.refused) {
        expect(result.has_value(), "refused: ", result.has_error() ? result.error().what : "");
        record(request, *result, now);
        return;
    }
    expect(result.has_error(), "not refused, and should be with ", name(*v.refused));
    const refusal& why = result.error();
    expect(why.code == *v.refused, "refused with ", name(why.code), ", not ", name(*v.refused));
    if (why.code == errc::wrong_expected_version)
        expect(why.found_version.value == v.found_version, "found version ", why.found_version,
               ", not ", v.found_version);
    else
        expect(why.boundary_index == v.boundary, "boundary ", why.boundary_index, ", not ",
               v.boundary);
    if (v.found_position)
        expect(why.found_position == position{*v.found_position}, "crossed by another record than ",
               *v.found_position);
}

void run::append_bulk()
{
    append_request request;
    for (int n = 20 + up_to(60); n > 0; --n)
        request.records.push_back(an_event(*an_existing_topic()));
    const timestamp now{now_};
    record(request, log_->append(request), now);
}

void run::append_batch()
{
    const std::string        topic = *an_existing_topic();
    const std::int32_t       number = up_to(model_.topics.at(topic).partitions());
    batch_builder::options   how;
    how.codec = static_cast<codec>(up_to(5));
    std::vector<append_record> events;
    for (int n = up_to(5); n >= 0; --n) {
        events.push_back(an_event(topic));
        append_record& e = events.back();
        e.partition      = number;
        // A key that lies elsewhere is left out: its stream would be in two partitions.
        if (e.record.key) {
            append_record anywhere = e;
            anywhere.partition.reset();
            if (place_of(anywhere) != number) e.record.key.reset();
        }
        if (!e.record.key && model_.topics.at(topic).compacted) events.pop_back();
    }
    if (events.empty()) return;

    const std::pair<std::int64_t, topic_partition> who{1 + up_to(2), {topic, number}};
    const auto                                     count = static_cast<int>(events.size());
    enum { fresh, again, gap } kind = fresh;
    if (one_in(2)) {
        a_producer& p     = model_.producers[who];
        how.producer_id    = who.first;
        how.producer_epoch = 0;
        how.base_sequence  = p.next;
        if (!p.last_five.empty() && one_in(3)) {
            // The bytes need not be the same: producer, epoch and sequences say that it is one.
            const auto& old = one_of(p.last_five);
            if (old.count <= count) {
                events.resize(static_cast<std::size_t>(old.count));
                how.base_sequence = old.first;
                kind              = again;
            }
        } else if (!p.last_five.empty() && one_in(6)) {
            how.base_sequence += 1 + up_to(3);
            kind = gap;
        }
    }
    const timestamp now{now_};
    batch_builder   b;
    b.start(how);
    for (const append_record& e : events)
        b.add(now, e.record.key, e.record.value, e.record.headers);
    const std::string bytes{b.finish()};

    receipt r;
    try {
        r = log_->partition(topic, number).append_batch(bytes);
    } catch (const error& e) {
        if (e.code() == errc::command_reused && kind == again) return;
        expect(kind == gap && e.code() == errc::out_of_order_sequence, e.what());
        return;
    }
    expect(kind != gap, "a batch out of order was taken");
    if (kind == again) {
        expect(r.repeated, "a producer's repeat was not recognised");
        const auto& sent = model_.producers.at(who).last_five;
        expect(std::any_of(sent.begin(), sent.end(),
                           [&](const a_producer::sent& s) {
                               return s.first == how.base_sequence &&
                                      s.answer.first == r.first && s.answer.records == r.records;
                           }),
               "a producer's repeat has another receipt");
        return;
    }
    append_request as_request;
    as_request.records = events;
    for (append_record& e : as_request.records) e.record.timestamp = now;
    record(as_request, r, now);
    if (how.producer_id >= 0) {
        a_producer& p = model_.producers[who];
        p.last_five.push_back({how.base_sequence, static_cast<int>(events.size()), r});
        if (p.last_five.size() > 5) p.last_five.pop_front();
        p.next += static_cast<std::int32_t>(events.size());
    }
}

void run::append_at_once()
{
    // A group commit: several threads, whose order is told by their receipts.
    constexpr int                  threads = 3;
    std::vector<append_request>    requests(threads);
    std::vector<std::optional<append_result>> results(threads);
    for (append_request& r : requests) {
        for (int n = up_to(3); n >= 0; --n) r.records.push_back(an_event(*an_existing_topic()));
        const stream_id s = a_stream();
        if (one_in(2))
            r.expect = {{s, expected_version::exactly(version{model_.version_of(s)})}};
        if (one_in(3)) r.boundaries = {{a_query(), position{end_ - 1}}};
    }
    const timestamp          now{now_};
    std::barrier             start{threads};
    std::vector<std::thread> all;
    for (int t = 0; t < threads; ++t)
        all.emplace_back([&, t] {
            start.arrive_and_wait();
            const auto at = static_cast<std::size_t>(t);
            results[at]   = log_->try_append(requests[at]);
        });
    for (std::thread& t : all) t.join();

    std::vector<std::size_t> order;
    for (std::size_t i = 0; i < threads; ++i)
        if (results[i]->has_value()) order.push_back(i);
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return (*results[a])->first < (*results[b])->first;
    });
    // What was accepted would have been accepted one after the other; what was refused was
    // refused somewhere between them.
    std::vector<bool> refusable(threads, false);
    const auto        try_refused = [&] {
        for (std::size_t i = 0; i < threads; ++i)
            if (results[i]->has_error() && judge(requests[i]).refused) refusable[i] = true;
    };
    try_refused();
    for (const std::size_t i : order) {
        const verdict v = judge(requests[i]);
        expect(!v.refused, "of a group, one was accepted that should be refused with ",
               v.refused ? name(*v.refused) : "");
        record(requests[i], **results[i], now);
        try_refused();
    }
    for (std::size_t i = 0; i < threads; ++i)
        expect(results[i]->has_value() || refusable[i], "of a group, one was refused for nothing: ",
               results[i]->has_error() ? results[i]->error().what : "");
}

void run::commit_offset()
{
    const std::string     group = "g" + std::to_string(up_to(2));
    const std::string     topic = *an_existing_topic();
    const topic_partition at{topic, up_to(model_.topics.at(topic).partitions())};
    const auto end = model_.topics.at(topic).end[static_cast<std::size_t>(at.partition)];
    const std::int64_t to = up_to(static_cast<int>(end) + 1);
    log_->groups().commit(group, {{.at = at, .offset = offset{to}}});
    model_.groups[group][at] = to;
}

// ---- Forgetting. -----------------------------------------------------------------------------

void run::truncate()
{
    const std::string  topic  = *an_existing_topic();
    a_topic&           t      = model_.topics.at(topic);
    const std::int32_t number = up_to(t.partitions());
    auto&              start  = t.start[static_cast<std::size_t>(number)];
    const std::int64_t to     = up_to(
        static_cast<int>(t.end[static_cast<std::size_t>(number)]) + 1);
    log_->partition(topic, number).truncate_before(offset{to});
    start = std::max(start, to);
    for (a_record& r : model_.records)
        if (r.topic == topic && r.partition == number && r.offset < start) r.gone = true;
}

void run::clean()
{
    now_ += up_to(8'000);
    if (one_in(2)) log_->roll_segment();
    (void)log_->clean();
    // What exactly is taken is the log's to choose (whole segments, whole batches); that nothing
    // is taken that should stay is not.
    for (auto& [name, t] : model_.topics) {
        for (std::int32_t p = 0; p < t.partitions(); ++p) {
            partition          here  = log_->partition(name, p);
            const std::int64_t start = here.start_offset().value;
            auto&              was   = t.start[static_cast<std::size_t>(p)];
            expect(start >= was, name, "-", p, ": its start went back to ", start);
            expect(start == was || t.retention_ms >= 0, name, "-", p, ": its start moved");
            was = start;
            std::set<std::int64_t> left;
            for (const record_view& r : here.read(offset{start})) left.insert(r.offset.value);
            for (a_record& r : model_.records) {
                if (r.topic != name || r.generation != t.generation || r.partition != p || r.gone)
                    continue;
                if (left.count(r.offset)) continue;
                r.gone             = true;
                const bool expired = t.retention_ms >= 0 && r.time + t.retention_ms < now_;
                const bool newer   = std::any_of(
                    model_.records.begin(), model_.records.end(), [&](const a_record& other) {
                        return other.topic == name && other.generation == t.generation &&
                               other.partition == p && other.key == r.key &&
                               other.offset > r.offset;
                    });
                // (No run lasts as long as delete.retention.ms.)
                expect(expired || (t.compacted && newer), name, "-", p, "@", r.offset,
                       ": was removed and should not be");
            }
        }
    }
}

// ---- Operating. ------------------------------------------------------------------------------

void run::reopen()
{
    if (!on_disk_) {
        log_->merge();
        return;
    }
    tails_.clear();
    log_->close();
    log_.reset();
    if (one_in(3)) fs::remove_all(directory_ / "index");
    open();
}

void run::merge_or_roll()
{
    if (one_in(3))
        log_->roll_segment();
    else
        log_->merge();
}

// ---- Comparing. ------------------------------------------------------------------------------

void run::same(const record_view& got, const a_record& want, bool with_version, const char* what)
{
    expect(got.position.value == want.position, what, ": position ", got.position, ", not ",
           want.position);
    expect(got.offset.value == want.offset, what, ": offset ", got.offset, " at position ",
           got.position);
    expect(got.from && got.from->topic == want.topic && got.from->partition == want.partition,
           what, ": another partition at position ", got.position);
    expect(got.key == want.key, what, ": another key at position ", got.position);
    expect(got.value == want.value, what, ": another value at position ", got.position);
    expect(got.timestamp.value == want.time, what, ": another time at position ", got.position);
    expect(got.version.value == (with_version ? want.version : -1), what, ": version ",
           got.version, " at position ", got.position);
    std::set<std::string> tags;
    if (const auto joined = got.headers.find("ce_tags"))
        for (const std::string& t : split_tags(*joined)) tags.insert(t);
    expect(tags == want.tags && got.headers.find("ce_type").value_or("") == want.type, what,
           ": other headers at position ", got.position);
}

void run::compare(record_range&& got, std::vector<const a_record*> want, bool with_version,
                  const char* what)
{
    for (const a_record* w : want) {
        const record_view* r = got.next();
        expect(r != nullptr, what, ": nothing more, and there should be position ", w->position);
        same(*r, *w, with_version, what);
    }
    const record_view* more = got.next();
    expect(more == nullptr, what, ": more than there is: position ",
           more ? more->position.value : 0);
}

template <class T>
std::vector<T> reversed(std::vector<T> list)
{
    std::reverse(list.begin(), list.end());
    return list;
}

void run::look_at_partition()
{
    const std::string  topic  = *an_existing_topic();
    const a_topic&     t      = model_.topics.at(topic);
    const std::int32_t number = up_to(t.partitions());
    const auto         start  = t.start[static_cast<std::size_t>(number)];
    const auto         end    = t.end[static_cast<std::size_t>(number)];
    const partition    p      = log_->partition(topic, number);
    expect(p.start_offset().value == start && p.end_offset().value == end, p.id(), " is from ",
           p.start_offset(), " to ", p.end_offset(), ", not ", start, " to ", end);

    const auto here = [&](auto&& wanted) {
        return model_.all([&](const a_record& r) {
            return r.topic == topic && r.partition == number && r.generation == t.generation &&
                   wanted(r);
        });
    };
    const std::int64_t from = start + up_to(static_cast<int>(end - start) + 1);
    compare(p.read(offset{from}), here([&](const a_record& r) { return r.offset >= from; }), false,
            "partition");
    compare(p.read_backwards(offset{from}),
            reversed(here([&](const a_record& r) { return r.offset <= from; })), false,
            "partition backwards");
    expect(!p.try_read(offset{end + 1}), "read beyond the end");
    if (start > 0) expect(!p.try_read(offset{start - 1}), "read before the start");

    const timestamp t0{now_ - up_to(10'000)};
    const auto      at_time = here([&](const a_record& r) { return r.time >= t0.value; });
    const auto      found   = p.offset_for_time(t0);
    expect(found.has_value() == !at_time.empty(), p.id(), ": offset for time ", t0, " found ",
           found.has_value());
    if (found) expect(found->first.value == at_time[0]->offset, p.id(), ": another at time ", t0);

    std::int64_t next = from;
    for (const stored_batch& b : p.read_batches(offset{from}, 1 << 20)) {
        batch_fault why;
        const auto  view = batch_view::parse(b.bytes, &why);
        expect(view.has_value(), "batch: ", why.what);
        expect(view->base_offset() == b.base && b.end.value > next, "batch at ", b.base,
               " ends at ", b.end);
        next = b.end.value;
    }
}

void run::look_at_stream()
{
    const stream_id    s = a_stream();
    const std::int64_t v = model_.version_of(s);
    expect(log_->stream_version(s).value == v, s, " has version ", log_->stream_version(s),
           ", not ", v);
    const auto         mine = [&](const a_record& r) { return model_.is_of(r, s); };
    const std::int64_t from = up_to(static_cast<int>(v) + 2);
    compare(log_->read_stream(s, version{from}),
            model_.all([&](const a_record& r) { return mine(r) && r.version >= from; }), true,
            "stream");
    compare(log_->read_stream_backwards(s, version{from}),
            reversed(model_.all([&](const a_record& r) { return mine(r) && r.version <= from; })),
            true, "stream backwards");
    compare(log_->read_stream_backwards(s), reversed(model_.all(mine)), true, "whole stream");
    if (const auto known = model_.places.find({s.topic, s.key}); known != model_.places.end())
        expect(log_->partition_of(s) == known->second, s, " is said to be in ",
               log_->partition_of(s));
}

void run::look_at_query()
{
    const query    q    = a_query();
    const position from = a_position();
    const auto     mine = [&](const a_record& r) { return model::matches(q, r); };
    compare(log_->read_query(q, from),
            model_.all([&](const a_record& r) { return mine(r) && r.position >= from.value; }),
            false, "query");
    compare(log_->read_query_backwards(q, from),
            reversed(model_.all(
                [&](const a_record& r) { return mine(r) && r.position <= from.value; })),
            false, "query backwards");
    const auto last = log_->last_match(q);
    const auto want = model_.last_match(q);
    expect(last.has_value() == want.has_value() && (!last || last->value == *want),
           "last match of ", written(q), " is ", last ? last->value : -1, ", not ",
           want.value_or(-1));
}

void run::look_at_all()
{
    const position from = a_position();
    compare(log_->read_all(from),
            model_.all([&](const a_record& r) { return r.position >= from.value; }), false, "all");
    compare(log_->read_all_backwards(from),
            reversed(model_.all([&](const a_record& r) { return r.position <= from.value; })),
            false, "all backwards");
}

void run::look_at_topics()
{
    std::vector<std::string> want;
    for (const auto& [name, t] : model_.topics) want.push_back(name);
    expect(log_->topics() == want, "other topics");
    for (const auto& [name, t] : model_.topics) {
        const topic_description d = log_->describe_topic(name);
        expect(static_cast<std::int32_t>(d.partitions.size()) == t.partitions(), name, " has ",
               d.partitions.size(), " partitions");
        for (std::size_t p = 0; p < d.partitions.size(); ++p)
            expect(d.partitions[p].start.value == t.start[p] &&
                       d.partitions[p].end.value == t.end[p],
                   name, "-", p, " is described from ", d.partitions[p].start, " to ",
                   d.partitions[p].end, ", not ", t.start[p], " to ", t.end[p]);
    }
    std::vector<std::string> groups;
    for (const auto& [group, offsets] : model_.groups) {
        groups.push_back(group);
        const auto all = log_->groups().fetch(group);
        expect(all.size() == offsets.size(), group, " has committed in ", all.size());
        for (const committed_offset& c : all)
            expect(offsets.count(c.at) && offsets.at(c.at) == c.offset.value, group, ": ", c.at,
                   " at ", c.offset);
    }
    expect(log_->groups().list() == groups, "other groups");
}

/// Readers that stay: what was appended since they looked, and nothing else, in order.
void run::look_at_tails()
{
    if (tails_.size() < 3) {
        tails_.emplace_back(log_->read_all(position{end_}), end_);
        return;
    }
    auto& [range, seen] = tails_[static_cast<std::size_t>(up_to(3))];
    try {
        look_at_tail(range, seen);
    } catch (const offset_out_of_range& e) {
        // What it had before it was removed: it is told, and begins again.
        expect(std::any_of(model_.records.begin(), model_.records.end(),
                           [&, from = seen](const a_record& r) {
                               return r.gone && r.position >= from;
                           }),
               e.what());
        range = log_->read_all(position{end_});
    }
    seen = end_;
}

void run::look_at_tail(record_range& range, std::int64_t seen)
{
    (void)range.wait(std::chrono::steady_clock::time_point{});
    const auto want =
        model_.all([&, from = seen](const a_record& r) { return r.position >= from; });
    std::int64_t next = -1;
    std::size_t  i    = 0;
    while (const record_view* r = range.next()) {
        // It may still hold what was removed since, if it had it in hand; never out of order.
        expect(r->position.value > next, "a tail went back to ", r->position);
        next = r->position.value;
        while (i < want.size() && want[i]->position < next)
            throw mismatch{"a tail skipped " + std::to_string(want[i]->position)};
        if (i < want.size() && want[i]->position == next) same(*r, *want[i++], false, "tail");
    }
    expect(i == want.size(), "a tail did not come to the end");
}

void run::look()
{
    // Internal topics' records take positions too, which the model does not have.
    end_ = log_->end_position().value;
    if (model_.topics.empty()) return look_at_topics();
    switch (up_to(7)) {
    case 0: return look_at_all();
    case 1: return look_at_partition();
    case 2: return look_at_topics();
    case 3: return look_at_tails();
    case 4: return look_at_stream();
    default: return look_at_query();
    }
}

void run::look_at_everything()
{
    look_at_topics();
    compare(log_->read_all(), model_.all([](const a_record&) { return true; }), false,
            "everything");
    if (model_.topics.empty()) return;
    for (int i = 0; i < 3; ++i) {
        look_at_partition();
        look_at_stream();
        look_at_query();
    }
}

void run::go(int steps)
{
    for (; operations_ < steps; ++operations_) {
        now_ += up_to(500);
        end_ = log_->end_position().value;
        if (model_.topics.empty()) {
            create_topic();
        } else {
            using operation = std::pair<int, void (run::*)()>;  // in how many of a hundred
            constexpr std::array<std::pair<const char*, operation>, 12> all{{
                {"append", {45, &run::append}},
                {"append_batch", {12, &run::append_batch}},
                {"append_bulk", {5, &run::append_bulk}},
                {"append_at_once", {5, &run::append_at_once}},
                {"create_topic", {4, &run::create_topic}},
                {"delete_topic", {2, &run::delete_topic}},
                {"add_partitions", {3, &run::add_partitions}},
                {"commit_offset", {4, &run::commit_offset}},
                {"truncate", {3, &run::truncate}},
                {"clean", {4, &run::clean}},
                {"reopen", {5, &run::reopen}},
                {"merge_or_roll", {8, &run::merge_or_roll}},
            }};
            auto which = all.begin();
            for (int what = up_to(100); what >= which->second.first; ++which)
                what -= which->second.first;
            trace(which->first, " at ", end_);
            (this->*which->second.second)();
        }
        look();
    }
    end_ = log_->end_position().value;
    look_at_everything();
    tails_.clear();
    log_->close();
}

// ---- Many runs. ------------------------------------------------------------------------------

}  // namespace

TEST_CASE("whatever is done to the log, it is what a list of its records says")
{
    const auto runs = given_seed() ? 1 : std::getenv("CAIRN_LONG") ? 40'000 : 2'000;

    const temporary_directory base{place::disk};
    int                       done = 0, operations = 0;
    std::string               failure;
    for (; done < runs && failure.empty(); ++done) {
        const auto         mine = seed() + static_cast<std::uint64_t>(done);
        std::optional<run> one;
        try {
            one.emplace(mine, base / "data");
            one->go(40);
            operations += one->operations();
        } catch (const std::exception& e) {
            failure = "CAIRN_SEED=" + std::to_string(mine) + " after " +
                      std::to_string(one ? one->operations() : 0) + " operations: " + e.what();
        }
        one.reset();
        fs::remove_all(base / "data");
    }
    std::cout << done << " runs, " << operations << " operations" << std::endl;
    INFO(failure);
    CHECK(failure.empty());
}
