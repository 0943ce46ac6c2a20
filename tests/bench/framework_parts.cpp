// SPDX-License-Identifier: Apache-2.0
//
// Process managers: so many events are there when the runner begins, each is part of a process, of
// which each has ten. It reacts with an event of its own; in `process_commands` with a command as
// well, which is as durable as any before the next event is looked at.
//
// The dispatcher: a caller executes ten commands on one aggregate, then goes on to the next,
// through all middlewares that there are. The log's sink takes the lines and drops them.
#include "framework_parts.hpp"

#include "load.hpp"
#include "machine.hpp"

#include "shipping.capnp.h"

#include <cairn/framework/middlewares.hpp>
#include <cairn/framework/process_runner.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

namespace cairn::bench {

const std::vector<part_name> framework_part_names = {
    {"process_events", "process manager catching up, an event each, durable"},
    {"process_events_1", "the same, each in an append of its own"},
    {"process_commands", "the same in batches, an event and a command each, durable"},
    {"dispatch_1", "command through a dispatcher, all middlewares, memory, 1 caller"},
    {"dispatch_n", "the same, many callers"},
};

namespace {

template <class E>
cairn::event<E> numbered(std::uint64_t number)
{
    return cairn::event<E>{[&](auto e) {
        static const std::string note(130, 'n');
        e.setNumber(number);
        e.setNote(note);
    }};
}

struct Reserve
{
    std::uint64_t number;
};

struct Stock : aggregate<StockReserved>
{
    std::uint64_t reserved = 0;

    decision decide(const Reserve& c) const { return numbered<StockReserved>(c.number); }
    void     apply(StockReserved::Reader) { ++reserved; }
};

template <bool Commands>
struct Shipping : process_manager<listens_to<OrderPaid>, records<ShipmentBegun>, sends_to<Stock>>
{
    std::uint64_t begun = 0;

    static std::string process_of(auto, const stream_id& order) { return order.key; }

    reaction react(OrderPaid::Reader e) const
    {
        reaction all{numbered<ShipmentBegun>(begun)};
        if constexpr (Commands)
            all.template send<Stock>(std::to_string(e.getNumber() / 10), Reserve{e.getNumber()});
        return all;
    }
    void apply(ShipmentBegun::Reader) { ++begun; }
};

/// As any Kafka client would write them.
void place(commit_log& log, std::uint64_t events)
{
    char schema[32];
    std::snprintf(schema, sizeof schema, "capnp:%016llx",
                  static_cast<unsigned long long>(capnp::typeId<OrderPaid>()));
    for (std::uint64_t i = 0; i < events;) {
        append_request many;
        for (const auto end = std::min(events, i + 1000); i < end; ++i)
            many.records.push_back(
                {"orders",
                 {.key     = "o-" + std::to_string(i / 10),
                  .value   = std::string{numbered<OrderPaid>(i).bytes()},
                  .headers = {{"ce_dataschema", schema}, {"ce_type", "OrderPaid"}}}});
        log.append(many);
    }
}

class parts
{
public:
    parts(const settings& s, int callers, std::uint64_t events, results& into)
        : s_{s}, callers_{callers}, events_{events}, results_{into}
    {
    }

    void run()
    {
        if (s_.wants("process_events")) catch_up<false>("process_events", {});
        if (s_.wants("process_events_1")) catch_up<false>("process_events_1", {.batch_max = 1});
        if (s_.wants("process_commands")) catch_up<true>("process_commands", {});
        if (s_.wants("dispatch_1")) dispatch("dispatch_1", 1);
        if (s_.wants("dispatch_n")) dispatch("dispatch_n", callers_);
    }

private:
    template <bool Commands>
    void catch_up(const std::string& part, const process_options& o)
    {
        const scratch_directory place_of{s_.directory};
        const auto              before = raw_overwrite(place_of.path(), s_.raw());
        auto                    log    = commit_log::open(place_of.path() + "/data");
        for (const auto* topic : {"orders", "shipments", "stock"}) log.create_topic(topic, 8);
        place(log, events_);
        log.merge();

        repository<Stock>                  stock{log, "stock"};
        process_runner<Shipping<Commands>> shipping{log, "shipments", o, stock};
        const auto                         cpu   = cpu_seconds();
        const auto                         began = clock::now();
        shipping.run_until_idle();
        const auto seconds = std::chrono::duration<double>(clock::now() - began).count();
        const auto used    = cpu_seconds() - cpu;
        const auto after   = raw_overwrite(place_of.path(), s_.raw());
        const auto count   = static_cast<double>(shipping.statistics().events);
        results_.add(part, "cairn", "rate", count / seconds, (before.rate + after.rate) / 2);
        results_.add(part, "cairn", "cpu", used * 1e6 / count);
    }

    void dispatch(const std::string& part, int callers)
    {
        auto log = commit_log::in_memory();
        log.create_topic("stock", 8);
        repository<Stock> stock{log, "stock"};
        const auto        id_of = [](const Reserve& c) { return std::to_string(c.number / 10); };
        dispatcher        app;
        app.use(middlewares::log_to([](const std::string&) {}))
            .use(middlewares::measure(std::make_shared<middlewares::measures>()))
            .use(middlewares::authorise([](const command_call&) { return std::nullopt; }))
            .use(middlewares::validate<Reserve>([](const Reserve& c) {
                return c.number == 0 ? std::optional<std::string>{"it has no number"}
                                     : std::nullopt;
            }))
            .use(middlewares::retry(3))
            .handle<Reserve>(stock, id_of);
        const auto cpu = cpu_seconds();
        const auto f   = timed(callers, s_.each(), 1, [&](int thread, std::uint64_t call) {
            app.execute(Reserve{static_cast<std::uint64_t>(thread + 1) * 1'000'000'000 + call})
                .value();
            return true;
        });
        results_.add(part, "cairn", "rate", f.rate);
        results_.add(part, "cairn", "p50", f.p50_us);
        results_.add(part, "cairn", "p99", f.p99_us);
        results_.add(part, "cairn", "cpu",
                     (cpu_seconds() - cpu) * 1e6 / static_cast<double>(f.count));
    }

    const settings&     s_;
    const int           callers_;
    const std::uint64_t events_;
    results&            results_;
};

}  // namespace

void run_framework_parts(const settings& s, int callers, std::uint64_t process_events,
                         results& into)
{
    parts{s, callers, process_events, into}.run();
}

}  // namespace cairn::bench
