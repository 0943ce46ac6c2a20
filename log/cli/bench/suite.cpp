// SPDX-License-Identifier: Apache-2.0
#include "suite.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <random>
#include <utility>

namespace cairn::bench {

namespace {

constexpr const char* topic      = "events";
constexpr int         partitions = 8;

/// Where the raw disk is measured again, before each part that waits for it.
constexpr duration raw_each = std::chrono::milliseconds{500};

/// Reads a value as an application would: its first and last bytes.
std::uint64_t touch(const record_view& r)
{
    std::uint64_t first = 0;
    if (r.value && r.value->size() >= sizeof first)
        std::memcpy(&first, r.value->data(), sizeof first);
    return first + (r.key ? static_cast<unsigned char>(r.key->back()) : 0u) + r.headers.size();
}

class suite
{
public:
    explicit suite(const plan& p) : plan_{p} {}

    std::vector<figure> run()
    {
        if (wanted("raw_disk")) {
            announce("raw_disk");
            report("raw_disk", raw_overwrite(plan_.directory, plan_.each));
        }
        {
            auto log = open("writing");
            appends(log);
        }
        if (!any_wanted({"bulk_100", "bulk_1000", "replay", "replay_partition", "by_key", "by_tag",
                         "boundary_1", "boundary_n"}))
            return std::move(figures_);
        auto log = open("reading");
        bulk(log);
        reads(log);
        boundaries(log);
        return std::move(figures_);
    }

private:
    commit_log open(const std::string& name)
    {
        log_options options;
        options.cleanup_interval = std::chrono::hours{1};  // not what is measured here
        auto log = commit_log::open(plan_.directory + '/' + name, std::move(options));
        log.create_topic(topic, partitions);
        return log;
    }

    bool stopped() const { return plan_.stop && plan_.stop(); }

    bool wanted(const std::string& name) const
    {
        if (stopped()) return false;
        return plan_.only.empty() || std::ranges::find(plan_.only, name) != plan_.only.end();
    }
    bool any_wanted(std::initializer_list<const char*> names) const
    {
        return std::ranges::any_of(names, [this](const char* n) { return wanted(n); });
    }

    void announce(const std::string& name) const
    {
        if (plan_.on_part) plan_.on_part(name);
    }

    void report(const std::string& name, figure f)
    {
        f.name = name;
        for (const auto& part : parts())
            if (part.name == name) f.what = part.what;
        if (plan_.on_figure) plan_.on_figure(f);
        figures_.push_back(std::move(f));
    }

    /// A part that waits for the disk is set beside what the disk did just before.
    void durable(const std::string& name, int threads, std::uint64_t worth,
                 const std::function<bool(int, std::uint64_t)>& work)
    {
        if (!wanted(name)) return;
        announce(name);
        const auto raw = raw_overwrite(plan_.directory, raw_each).rate;
        auto       f   = timed(threads, plan_.each, worth, work);
        f.raw_rate     = raw;
        report(name, std::move(f));
    }

    void appends(commit_log& log)
    {
        const auto plain = [&](int thread, std::uint64_t) {
            log.append({.records = {event(thread)}});
            return true;
        };
        durable("append_1", 1, 1, plain);
        durable("append_n", plan_.writers, 1, plain);

        // Each writer has a stream of its own, new for each part.
        for (const int writers : {1, plan_.writers}) {
            const std::string prefix    = "writer-" + std::to_string(writers) + '-';
            const auto        expecting = [&](int thread, std::uint64_t call) {
                append_request request;
                request.records.push_back(event(thread));
                request.records.front().record.key = prefix + std::to_string(thread);
                request.expect.push_back(
                           {{topic, *request.records.front().record.key},
                     expected_version::exactly(version{static_cast<std::int64_t>(call)})});
                log.append(request);
                return true;
            };
            durable(writers == 1 ? "version_1" : "version_n", writers, 1, expecting);
        }
    }

    void bulk(commit_log& log)
    {
        announce("bulk_100");
        const auto raw = raw_overwrite(plan_.directory, raw_each).rate;
        auto f     = fill(log, topic, plan_.streams, plan_.events_of_each, 100, plan_.event_bytes);
        f.raw_rate = raw;
        if (wanted("bulk_100")) report("bulk_100", std::move(f));

        if (!wanted("bulk_1000")) return;
        log.create_topic("bulk", partitions);
        append_request request;
        for (std::uint64_t i = 0; i < 1000; ++i) {
            request.records.push_back(event_of(i, plan_.event_bytes));
            request.records.back().topic = "bulk";
        }
        durable("bulk_1000", 1, request.records.size(), [&](int, std::uint64_t) {
            log.append(request);
            return true;
        });
    }

    void reads(commit_log& log)
    {
        log.merge();  // what is read is in the segments and the index, as most of a log is
        std::uint64_t seen = 0;

        const auto replay = [&](const std::string& name, auto&& ranges_of) {
            if (!wanted(name)) return;
            announce(name);
            std::uint64_t records = 0;
            const auto    began   = clock::now();
            do {
                for (record_range& range : ranges_of())
                    while (const auto* record = range.next()) {
                        seen += touch(*record);
                        ++records;
                    }
            } while (clock::now() - began < plan_.each && records > 0);
            const std::chrono::duration<double> took = clock::now() - began;
            figure                              f;
            f.count   = records;
            f.seconds = took.count();
            f.rate    = static_cast<double>(records) / took.count();
            report(name, std::move(f));
        };
        replay("replay", [&] {
            std::vector<record_range> all;
            all.push_back(log.read_all());
            return all;
        });
        replay("replay_partition", [&] {
            std::vector<record_range> all;
            for (const auto& p : log.partitions(topic)) all.push_back(p.read(p.start_offset()));
            return all;
        });

        std::mt19937_64                              random{1};
        std::uniform_int_distribution<std::uint64_t> any_stream{0, plan_.streams - 1};
        const auto lookup = [&](const std::string& name, auto&& range_of) {
            if (!wanted(name)) return;
            announce(name);
            auto f = timed(1, plan_.each, 1, [&](int, std::uint64_t) {
                auto range = range_of(any_stream(random));
                while (const auto* record = range.next()) seen += touch(*record);
                return true;
            });
            f.unit = "look-ups";
            report(name, std::move(f));
        };
        lookup("by_key", [&](std::uint64_t stream) {
            return log.read_stream({topic, key_of(stream)});
        });
        lookup("by_tag", [&](std::uint64_t stream) {
            return log.read_query({{{{}, {tags_of(stream).front()}}}});
        });
        volatile std::uint64_t sink = seen;  // so that reading is not optimised away
        (void)sink;
    }

    void boundaries(commit_log& log)
    {
        // New orders of known customers: nothing has both tags yet.
        std::uint64_t base = 1'000'000'000'000;
        for (const int writers : {1, plan_.writers}) {
            const auto under_boundary = [&](int thread, std::uint64_t call) {
                const auto stream =
                    base + static_cast<std::uint64_t>(thread) * 1'000'000'000 + call;
                append_request request;
                request.records.push_back(event_of(stream, plan_.event_bytes));
                request.boundaries.push_back({query{{{{}, tags_of(stream)}}}, std::nullopt});
                log.append(request);
                return true;
            };
            durable(writers == 1 ? "boundary_1" : "boundary_n", writers, 1, under_boundary);
            base *= 2;
        }
    }

    append_record event(int thread) const
    {
        return event_of(static_cast<std::uint64_t>(thread), plan_.event_bytes);
    }

    const plan&         plan_;
    std::vector<figure> figures_;
};

}  // namespace

std::vector<part> parts()
{
    return {{"raw_disk", "the disk itself: 4 KiB overwritten, fdatasync"},
            {"append_1", "append, 1 writer"},
            {"append_n", "append, many writers"},
            {"version_1", "append with expected version, 1 writer"},
            {"version_n", "append with expected version, many writers"},
            {"bulk_100", "append of 100 events, 1 writer"},
            {"bulk_1000", "append of 1,000 events, 1 writer"},
            {"replay", "replay of the whole log, one core"},
            {"replay_partition", "replay partition by partition, one core"},
            {"by_key", "the events of one key"},
            {"by_tag", "the events of one tag"},
            {"boundary_1", "append under a boundary of two tags, 1 writer"},
            {"boundary_n", "append under a boundary of two tags, many writers"}};
}

std::vector<figure> run(const plan& p)
{
    return suite{p}.run();
}

std::vector<std::string> tags_of(std::uint64_t stream)
{
    return {"order:" + std::to_string(stream), "customer:" + std::to_string(stream % 10'000)};
}

std::string key_of(std::uint64_t stream)
{
    return "order-" + std::to_string(stream);
}

append_record event_of(std::uint64_t stream, std::size_t event_bytes)
{
    append_record r;
    r.topic        = topic;
    r.record.key   = key_of(stream);
    r.record.value = std::string(event_bytes, 'v');
    r.record.headers.push_back({std::string{header_names::type}, "OrderPlaced"});
    r.record.headers.push_back({std::string{header_names::tags}, join_tags(tags_of(stream))});
    return r;
}

figure fill(commit_log& log, const std::string& to, std::uint64_t streams,
            std::uint64_t events_of_each, std::size_t batch, std::size_t event_bytes)
{
    const std::uint64_t total = streams * events_of_each;
    std::uint64_t       next  = 0;
    append_request      request;
    // The requests are made before the clock runs: they are the caller's work.
    duration  appending{};
    latencies each;
    while (next < total) {
        request.records.clear();
        for (; request.records.size() < batch && next < total; ++next) {
            request.records.push_back(event_of(next % streams, event_bytes));
            request.records.back().topic = to;
        }
        const auto before = clock::now();
        log.append(request);
        const auto took = clock::now() - before;
        appending += took;
        each.add(took);
    }
    figure f;
    f.count   = total;
    f.seconds = std::chrono::duration<double>{appending}.count();
    f.rate    = f.seconds > 0 ? static_cast<double>(total) / f.seconds : 0;
    f.p50_us  = each.quantile(0.5);
    f.p99_us  = each.quantile(0.99);
    return f;
}

}  // namespace cairn::bench
