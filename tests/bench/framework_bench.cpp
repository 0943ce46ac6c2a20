// SPDX-License-Identifier: Apache-2.0
//
// Commands through aggregates: durable, with one caller and with many, beside the raw disk in the
// same run; and on a log in memory, one core.
//
// An aggregate has ten events: a caller executes ten commands on one, each of which decides on all
// that came before, then goes on to the next. So half of a stream is there on average, and what it
// costs to begin one is in it. `cold` is a command on an aggregate of ten events that is not in
// memory: its events are read and applied first.
//
// What is not about one repository is in framework_parts.cpp.
#include "framework_parts.hpp"
#include "load.hpp"
#include "machine.hpp"
#include "results.hpp"
#include "run_bench.hpp"

#include "order.capnp.h"

#include <cairn/framework/repository.hpp>

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace cairn::bench {
namespace {

struct options : settings
{
    int           callers = 64;
    std::uint64_t streams = 100'000;  // of the cold part
    std::uint64_t events  = 100'000;  // that a process manager catches up on
};

const std::vector<part_name> part_names = {
    {"command_1", "command through an aggregate of ten events, durable, 1 caller"},
    {"command_n", "command through an aggregate of ten events, durable, many callers"},
    {"command_memory", "the same on the log in memory, one core"},
    {"command_cold", "the same in memory, the aggregate loaded from its ten events each time"},
};

const std::vector<target> targets = {
    {"command_1", "rate", true, 5'500, false, 5'500 / 7'221.0},
    {"command_n", "rate", true, 80'000},
    {"command_memory", "rate", true, 500'000},
};

struct AddLine
{
    std::uint64_t number;
};

struct Order : aggregate<LineAdded>
{
    std::uint64_t lines = 0, cents = 0;

    decision decide(const AddLine& c) const
    {
        if (lines >= 1'000) return reject("the order is full");
        return cairn::event<LineAdded>{[&](auto e) {
            static const std::string note(110, 'n');
            e.setSku("85123A");
            e.setQuantity(static_cast<std::uint32_t>(c.number % 7 + 1));
            e.setCents(255);
            e.setNote(note);
        }};
    }
    void apply(LineAdded::Reader e)
    {
        ++lines;
        cents += e.getCents() * e.getQuantity();
    }
};

commit_log with_topic(commit_log log)
{
    log.create_topic("orders", 8);
    return log;
}

class framework
{
public:
    explicit framework(const options& o) : o_{o}, results_{"framework", all_parts(), targets} {}

    void run()
    {
        for (std::uint64_t i = 0; i < o_.runs; ++i) {
            std::fprintf(stderr, "run %llu of %llu\n", static_cast<unsigned long long>(i + 1),
                         static_cast<unsigned long long>(o_.runs));
            if (o_.wants("command_1")) durable("command_1", 1);
            if (o_.wants("command_n")) durable("command_n", o_.callers);
            if (o_.wants("command_memory")) memory();
            if (o_.wants("command_cold")) cold();
            run_framework_parts(o_, o_.callers, o_.events, results_);
        }
        if (o_.json())
            results_.print_json();
        else
            results_.print_table();
    }

private:
    static std::vector<part_name> all_parts()
    {
        auto all = part_names;
        all.insert(all.end(), framework_part_names.begin(), framework_part_names.end());
        return all;
    }

    static std::string id_of(int thread, std::uint64_t call)
    {
        return "o-" + std::to_string(thread) + "-" + std::to_string(call / 10);
    }

    void durable(const std::string& part, int callers)
    {
        const scratch_directory place{o_.directory};
        const auto              before = raw_overwrite(place.path(), o_.raw());
        auto                    log    = with_topic(commit_log::open(place.path() + "/data"));
        repository<Order>       orders{log, "orders"};
        const auto              cpu = cpu_seconds();
        const auto f = timed(callers, o_.each(), 1, [&](int thread, std::uint64_t call) {
            orders.execute(id_of(thread, call), AddLine{call}).value();
            return true;
        });
        const auto used  = cpu_seconds() - cpu;
        const auto after = raw_overwrite(place.path(), o_.raw());
        add(part, f, used, (before.rate + after.rate) / 2);
    }

    void memory()
    {
        auto              log = with_topic(commit_log::in_memory());
        repository<Order> orders{log, "orders"};
        const auto        cpu = cpu_seconds();
        const auto        f   = timed(1, o_.each(), 1, [&](int thread, std::uint64_t call) {
            orders.execute(id_of(thread, call), AddLine{call}).value();
            return true;
        });
        add("command_memory", f, cpu_seconds() - cpu, 0);
    }

    void cold()
    {
        auto log = with_topic(commit_log::in_memory());
        {
            repository<Order> orders{log, "orders"};
            for (std::uint64_t i = 0; i < o_.streams * 10; ++i)
                orders.execute(id_of(0, i), AddLine{i}).value();
        }
        log.merge();
        // None that is asked for is in memory: each is asked once, at a distance from the last.
        repository<Order> orders{log, "orders", {.aggregates_cached = 1}};
        const auto        cpu = cpu_seconds();
        const auto        f   = timed(1, o_.each(), 1, [&](int, std::uint64_t call) {
            orders.execute(id_of(0, call * 7919 % o_.streams * 10), AddLine{call}).value();
            return true;
        });
        add("command_cold", f, cpu_seconds() - cpu, 0);
    }

    void add(const std::string& part, const figure& f, double cpu, double raw_rate)
    {
        results_.add(part, "cairn", "rate", f.rate, raw_rate);
        results_.add(part, "cairn", "p50", f.p50_us);
        results_.add(part, "cairn", "p99", f.p99_us);
        results_.add(part, "cairn", "cpu", cpu * 1e6 / static_cast<double>(f.count));
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
    CLI::App app{"Measures commands through aggregates, beside the raw disk."};
    add_settings(app, o);
    app.add_option("--callers", o.callers, "How many are many")->capture_default_str();
    app.add_option("--streams", o.streams, "Aggregates of ten events that are loaded each time")
        ->capture_default_str();
    app.add_option("--events", o.events, "Events that a process manager catches up on")
        ->capture_default_str();

    return run_bench(app, argc, argv, [&] {
        print_machine(o);
        framework{o}.run();
    });
}
