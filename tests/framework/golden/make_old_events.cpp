// SPDX-License-Identifier: Apache-2.0
//
// make_old_events DIR: writes tests/framework/golden/*.bin into DIR. The README there says more.
#include "event_store_core.hpp"
#include "ledger.capnp.h"

#include <cairn/log/partition.hpp>

#include <fstream>
#include <iostream>
#include <vector>

using namespace cairn;
using namespace ledger;

namespace {

template <class E>
any_event made(auto fill)
{
    return event<E>{fill};
}

/// The records of these events, decided together, as a repository of `topic` writes them.
std::vector<record> records_of(event_store& store, const std::string& topic,
                               const std::vector<any_event>& events)
{
    std::vector<record> all;
    for (const auto& e : events)
        all.push_back(store.core().record_of(e, {topic, "a"},
                                             version{static_cast<std::int64_t>(all.size())}, {},
                                             all.empty() ? events.size() : 1));
    return all;
}

class writer
{
public:
    explicit writer(std::string directory) : directory_{std::move(directory)} {}

    /// The batch that the log makes of them. `rewrite` makes of a record what it was before.
    void write(
        const std::string& name, const std::vector<any_event>& events,
        const std::string& topic = "accounts", void (*rewrite)(record&) = [](record&) {})
    {
        log_options options;
        options.clock = [] { return timestamp{1'700'000'000'000}; };
        auto log      = commit_log::in_memory(options);
        log.create_topic(topic);
        event_store    store{log};
        append_request request;
        for (auto& r : records_of(store, topic, events)) {
            rewrite(r);
            request.records.push_back({topic, std::move(r)});
        }
        log.append(request);
        const auto    batches = log.partition(topic, 0).read_batches(offset{0}, 1 << 20);
        std::ofstream out{directory_ + "/" + name + ".bin", std::ios::binary};
        for (const auto& b : batches) out << b.bytes;
        if (!out.flush()) throw std::runtime_error{"cannot write " + name};
    }

private:
    std::string directory_;
};

/// The header of a record.
std::string& value_of(record& r, std::string_view name)
{
    for (auto& h : r.headers)
        if (h.name == name) return *h.value;
    throw std::logic_error{"no header " + std::string{name}};
}

}  // namespace

int main(int argc, char** argv)
try {
    if (argc != 2) throw std::runtime_error{"usage: make_old_events DIR"};
    writer     to{argv[1]};
    const auto paid_v2 = made<PaidV2>([](auto e) { e.setCents(700); });

    to.write("changed_field", {paid_v2});
    to.write("chain_of_three", {made<PaidV1>([](auto e) { e.setEuros(7); })});
    to.write("one_becomes_two", {made<Moved>([](auto e) {
                 e.setOut(5);
                 e.setIn(6);
             })});
    to.write("two_become_one", {made<AmountSet>([](auto e) { e.setCents(3); }),
                                made<LabelSet>([](auto e) { e.setLabel("tea"); })});
    to.write("moved_type", {made<OldCredit>([](auto e) { e.setCents(9); })});
    to.write("moved_topic", {paid_v2}, "purses");
    // As another language wrote it: a name, no id.
    to.write("renamed_type", {made<Credit>([](auto e) { e.setCents(8); })}, "accounts",
             [](record& r) {
                 std::erase_if(r.headers,
                               [](const header& h) { return h.name == header_names::data_schema; });
                 value_of(r, header_names::type) = "CreditGiven";
             });
    // Paid before it had a currency: its message is that of PaidV2.
    to.write("added_field", {paid_v2}, "accounts", [](record& r) {
        value_of(r, header_names::data_schema) =
            detail::data_schema_of(capnp::Schema::from<Paid>());
        value_of(r, header_names::type) = "Paid";
    });
    return 0;
} catch (const std::exception& e) {
    std::cerr << "make_old_events: " << e.what() << '\n';
    return 1;
}
