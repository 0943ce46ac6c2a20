// SPDX-License-Identifier: Apache-2.0
//
// The log as it grows: the rate of appends, memory, opening after a kill, many partitions, and
// what it takes when nothing happens.
#include "cairn_store.hpp"
#include "clock.hpp"
#include "load.hpp"
#include "machine.hpp"
#include "results.hpp"
#include "run_bench.hpp"
#include "scatter.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>
#include <random>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

extern char** environ;

namespace cairn::bench {
namespace {

struct options : settings
{
    std::uint64_t events         = 20'000'000;
    std::size_t   event_bytes    = 200;
    std::size_t   commit_events  = 1'000;
    std::uint64_t live_streams   = 100'000;
    int           writers        = 64;
    std::int32_t  many           = 1'000;  // partitions
    double        idle_s         = 10;
    bool          appends_until_killed = false;
};

const std::vector<part_name> part_names = {
    {"append_early", "bulk append, near the beginning"},
    {"append_late", "bulk append, at the end"},
    {"append_ratio", "append rate at the end against near the beginning"},
    {"size", "the log then: segments"},
    {"memory", "private memory of the process that appended it"},
    {"idle", "processor, while nothing happens"},
    {"open", "opened after kill -9, to the first durable append"},
    {"partitions_few", "durable append, many writers, 8 partitions"},
    {"partitions_many", "durable append, many writers, 1,000 partitions"},
    {"partitions_ratio", "1,000 partitions against 8"},
};

const std::vector<target> targets = {
    {"append_ratio", "ratio", true, 0.9},
    {"memory", "mib", false, 128},
    {"idle", "percent", false, 0.5},
    {"open", "ms", false, 100},
    {"partitions_ratio", "ratio", true, 0.9},
};

commit_log open_log(const std::string& directory)
{
    log_options o;
    o.cleanup_interval = std::chrono::hours{1};  // not what is measured here
    return commit_log::open(directory, o);
}

/// Ten events for each stream, among many that live at once, at random.
class many_lives
{
public:
    many_lives(std::uint64_t live, std::uint64_t first) : next_{first}, lives_(live)
    {
        for (auto& l : lives_) l = {next_++, 0};
    }

    event next(std::size_t bytes)
    {
        auto& l = lives_[random_() % lives_.size()];
        if (l.version == 10) l = {next_++, 0};
        return order_event(l.stream, l.version++, bytes, false);
    }

    std::uint64_t streams() const noexcept { return next_; }

private:
    struct life
    {
        std::uint64_t stream  = 0;
        std::int64_t  version = 0;
    };
    std::uint64_t     next_;
    std::vector<life> lives_;
    std::mt19937_64   random_{7};
};

/// The child: appends to the log until it is killed. Says so when it is in full swing.
[[noreturn]] void append_until_killed(const options& o)
{
    auto           log = open_log(o.directory);
    many_lives     lives{1'000, 1'000'000'000'000};
    append_request request;
    const auto     began = clock::now();
    for (bool said = false;;) {
        request.records.clear();
        for (int i = 0; i < 100; ++i)
            request.records.push_back(record_of(lives.next(o.event_bytes)));
        log.append(request);
        if (!said && clock::now() - began > o.each() / 3) {
            said = true;
            std::puts("appending");
            std::fflush(stdout);
        }
    }
}

/// Starts this program again as that child, and kills it in the midst of its appends.
void append_and_be_killed(const std::string& directory, const options& o)
{
    std::array<int, 2> ends{};
    if (::pipe(ends.data()) != 0) throw std::runtime_error{"pipe"};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    ::posix_spawn_file_actions_addclose(&actions, ends[0]);

    std::array<std::string, 8> words{"growth_bench", "--append-until-killed",
                                     "--dir",        directory,
                                     "--each-ms",    std::to_string(o.each_ms),
                                     "--event-bytes", std::to_string(o.event_bytes)};
    std::vector<char*> arguments;
    for (auto& w : words) arguments.push_back(w.data());
    arguments.push_back(nullptr);
    pid_t      child  = 0;
    const auto failed = ::posix_spawn(&child, "/proc/self/exe", &actions, nullptr,
                                      arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    if (failed) throw std::runtime_error{"the child that is to be killed could not be started"};

    char       byte  = 0;
    const bool going = ::read(ends[0], &byte, 1) == 1;
    std::this_thread::sleep_for(std::chrono::milliseconds{100});
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ::close(ends[0]);
    if (!going) throw std::runtime_error{"the child ended before it was killed"};
}

class growth
{
public:
    explicit growth(const options& o) : o_{o}, results_{"growth", part_names, targets} {}

    void run()
    {
        if (wants_any({"append_ratio", "memory", "idle", "open"})) {
            const scratch_directory place{o_.directory};
            const auto              directory = place.path() + "/log";
            append(directory);
            if (o_.wants("open"))
                for (std::uint64_t i = 0; i < o_.runs; ++i) reopen(directory);
        }
        if (o_.wants("partitions_ratio"))
            for (std::uint64_t i = 0; i < o_.runs; ++i) partitions();
        if (o_.json())
            results_.print_json();
        else
            results_.print_table();
    }

private:
    bool wants_any(std::initializer_list<const char*> names) const
    {
        return std::ranges::any_of(names, [this](const char* n) { return o_.wants(n); });
    }

    void append(const std::string& directory)
    {
        // Twenty windows: those of the first fifth but the very first are early, those of the
        // last fifth but the very last late; the median of each.
        constexpr std::uint64_t windows = 20;

        auto log = open_log(directory);
        log.create_topic(cairn_store::topic, 1);
        many_lives     lives{std::max<std::uint64_t>(1, std::min(o_.live_streams, o_.events / 20)),
                         0};
        append_request request;
        std::uint64_t  done = 0;
        for (std::uint64_t w = 0; w < windows; ++w) {
            const auto until = o_.events * (w + 1) / windows;
            const auto from  = done;
            duration   took{};
            while (done < until) {
                request.records.clear();
                for (std::size_t i = 0; i < o_.commit_events; ++i)
                    request.records.push_back(record_of(lives.next(o_.event_bytes)));
                const auto before = clock::now();
                log.append(request);
                took += clock::now() - before;
                done += o_.commit_events;
            }
            const auto rate = static_cast<double>(done - from) /
                              std::chrono::duration<double>(took).count();
            std::fprintf(stderr, "  %llu events: %.0f/s, %.0f MiB private\n",
                         static_cast<unsigned long long>(done), rate,
                         static_cast<double>(private_bytes()) / (1 << 20));
            if (w >= 1 && w < 4) results_.add("append_early", "cairn", "rate", rate);
            if (w + 4 >= windows && w + 1 < windows)
                results_.add("append_late", "cairn", "rate", rate);
        }
        results_.add("append_ratio", "cairn", "ratio",
                     results_.median("append_late", "cairn", "rate") /
                         results_.median("append_early", "cairn", "rate"));
        results_.add("memory", "cairn", "mib", static_cast<double>(private_bytes()) / (1 << 20));
        log.merge();
        const auto s = log.statistics();
        results_.add("size", "cairn", "gib",
                     static_cast<double>(s.segment_bytes + s.index_bytes) / (1 << 30));
        if (o_.wants("idle")) idle();
        log.close();
    }

    /// Once what the appends left to do in the background is done.
    void idle()
    {
        const auto used_in = [](double seconds) {
            const auto cpu   = cpu_seconds();
            const auto began = clock::now();
            std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
            return (cpu_seconds() - cpu) / seconds_since(began);
        };
        for (int i = 0; i < 120 && used_in(0.5) > 0.02; ++i) {}
        results_.add("idle", "cairn", "percent", used_in(o_.idle_s) * 100);
    }

    void reopen(const std::string& directory)
    {
        append_and_be_killed(directory, o_);
        append_request request;
        request.records.push_back(record_of(order_event(1, 0, o_.event_bytes, false)));
        const auto began = clock::now();
        auto       log   = open_log(directory);
        log.append(request);
        results_.add("open", "cairn", "ms", seconds_since(began) * 1000);
        log.close();
    }

    void partitions()
    {
        double few = 0;
        for (const auto partitions : {8, o_.many}) {
            const scratch_directory place{o_.directory};
            cairn_store             on{place.path() + "/log", partitions};
            const auto              before = raw_overwrite(place.path(), o_.raw());
            const auto cpu = cpu_seconds();
            const auto f = timed(o_.writers, o_.each(), 1, [&](int thread, std::uint64_t call) {
                const auto stream = scatter(static_cast<std::uint64_t>(thread) << 32 | call);
                append_request request;
                request.records.push_back(
                    record_of(order_event(stream, 0, o_.event_bytes, false)));
                on.log().append(request);
                return true;
            });
            const std::string part = partitions == 8 ? "partitions_few" : "partitions_many";
            const auto        used = cpu_seconds() - cpu;
            results_.add(part, "cairn", "rate", f.rate, before.rate);
            results_.add(part, "cairn", "p99", f.p99_us);
            results_.add(part, "cairn", "cpu", used * 1e6 / static_cast<double>(f.count));
            if (partitions == 8)
                few = f.rate;
            else
                results_.add("partitions_ratio", "cairn", "ratio", f.rate / few);
        }
    }

    const options& o_;
    results        results_;
};

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv)
{
    using namespace cairn::bench;
    options  o;
    CLI::App app{"Measures the log as it grows."};
    add_settings(app, o);
    app.add_option("--events", o.events, "How far it grows")->capture_default_str();
    app.add_option("--commit-events", o.commit_events, "In one commit")->capture_default_str();
    app.add_option("--live-streams", o.live_streams, "At once; ten events each")
        ->capture_default_str();
    app.add_option("--event-bytes", o.event_bytes, "Of a value")->capture_default_str();
    app.add_option("--writers", o.writers, "How many are many")->capture_default_str();
    app.add_option("--idle-s", o.idle_s, "How long nothing happens")->capture_default_str();
    app.add_flag("--append-until-killed", o.appends_until_killed)->group("");

    return run_bench(app, argc, argv, [&] {
        if (o.appends_until_killed) append_until_killed(o);
        print_machine(o);
        growth{o}.run();
    });
}
