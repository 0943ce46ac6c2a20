// SPDX-License-Identifier: Apache-2.0
//
// A small shop on the log. Each order is a stream of events. Clerks decide on what they have read,
// a voucher is good for one order, a mailer follows what happens, and billing keeps its place.
//
//     1_log [DIRECTORY]      without a directory: a log in memory
#include <cairn/log/commit_log.hpp>

#include <chrono>
#include <future>
#include <iostream>
#include <string>
#include <vector>

namespace {

using cairn::commit_log;
using cairn::expected_version;
using cairn::record_view;

//[ event
/// An event of an order: the key makes it part of the order's stream; type and tags are what
/// queries find it by.
cairn::append_record event(const std::string& type, const std::string& order,
                           const std::vector<std::string>& tags = {})
{
    cairn::record r;
    r.key   = order;
    r.value = type + " " + order;
    r.headers.push_back({std::string{cairn::header_names::type}, type});
    if (!tags.empty())
        r.headers.push_back({std::string{cairn::header_names::tags}, cairn::join_tags(tags)});
    return {.topic = "orders", .record = r};
}

bool is(const record_view& r, std::string_view type)
{
    return r.headers.find(cairn::header_names::type) == type;
}
//]

//[ place
/// Places an order that is not there yet; false if there is one of that name.
bool place(commit_log& log, const std::string& order)
{
    return log
        .try_append({.records = {event("OrderPlaced", order)},
                     .expect  = {{{"orders", order}, expected_version::no_stream()}}})
        .has_value();
}
//]

//[ pay
/// Pays an order, once. It reads the stream, decides, and appends on the condition that the
/// stream is still what was read. If it is not, somebody was faster: it reads and decides again.
bool pay(commit_log& log, const std::string& order)
{
    const cairn::stream_id stream{"orders", order};
    for (;;) {
        bool           placed = false, paid = false;
        cairn::version seen;
        for (const record_view& r : log.read_stream(stream)) {
            placed |= is(r, "OrderPlaced");
            paid |= is(r, "OrderPaid");
            seen = r.version.next();
        }
        if (!placed || paid) return false;
        if (log.try_append({.records = {event("OrderPaid", order)},
                            .expect  = {{stream, expected_version::exactly(seen)}}}))
            return true;
    }
}
//]

//[ redeem
/// Redeems a voucher, which is good once, whichever order it is used for. No stream could say
/// that; the boundary does: it fails if any record has this type and this tag.
bool redeem(commit_log& log, const std::string& voucher, const std::string& order)
{
    const std::string  tag = "voucher:" + voucher;
    const cairn::query used{{{.types = {"VoucherRedeemed"}, .tags = {tag}}}};

    const auto result = log.try_append(
        {.records = {event("VoucherRedeemed", order, {tag})}, .boundaries = {{.matching = used}}});
    if (!result) std::cout << order << " refused: " << name(result.error().code) << "\n";
    return result.has_value();
}
//]

//[ follow
/// Writes a mail for each payment, also for those to come, until the shop closes.
std::vector<std::string> write_mails(const commit_log& log)
{
    std::vector<std::string> mails;
    cairn::record_range      news = log.read_query({{{.types = {"OrderPaid", "ShopClosed"}}}});
    do
        for (const record_view& r : news) {
            if (is(r, "ShopClosed")) return mails;
            mails.push_back("thank you for paying " + std::string{r.key.value_or("")});
        }
    while (news.wait(std::chrono::minutes{1}));  // woken by the commit
    return mails;
}
//]

//[ bill
/// Counts the payments that billing has not seen yet, and remembers how far it came.
int bill(const commit_log& log)
{
    int                                  payments = 0;
    std::vector<cairn::committed_offset> seen;
    for (const cairn::partition& part : log.partitions("orders")) {
        const auto    known = log.groups().fetch("billing", part.id());
        cairn::offset next  = known ? known->offset : part.start_offset();
        for (const record_view& r : part.read(next)) {
            payments += is(r, "OrderPaid");
            next = r.offset.next();
        }
        seen.push_back({.at = part.id(), .offset = next});
    }
    log.groups().commit("billing", seen);
    return payments;
}
//]

void run(commit_log log)
{
    log.ensure_topic("orders", 4);
    auto mailer = std::async(std::launch::async, [&] { return write_mails(log); });

    for (const char* order : {"o-1", "o-2", "o-3"}) place(log, order);
    std::cout << "o-1 can be placed again: " << (place(log, "o-1") ? "yes" : "no") << "\n";

    // Two clerks pay the same order at the same time.
    auto      other = std::async(std::launch::async, [&] { return pay(log, "o-1"); });
    const int times = pay(log, "o-1") + other.get();
    std::cout << "o-1 was paid " << times << " time\n";
    std::cout << "billing sees " << bill(log) << " payment\n";

    redeem(log, "SPRING", "o-1");
    redeem(log, "SPRING", "o-3");

    pay(log, "o-3");
    std::cout << "billing sees " << bill(log) << " more\n";

    //[ once
    // A caller that got no answer asks again. The command id makes the second one a repeat.
    const cairn::append_request close{.records    = {event("ShopClosed", "shop")},
                                      .command_id = "close-the-shop"};
    const cairn::receipt        first = log.append(close);
    const cairn::receipt        again = log.append(close);
    std::cout << "the shop was closed " << (again.first == first.first ? "once" : "twice") << "\n";
    //]

    for (const auto& mail : mailer.get()) std::cout << mail << "\n";
}

}  // namespace

int main(int argc, char** argv)
{
    try {
        run(argc > 1 ? commit_log::open(argv[1]) : commit_log::in_memory());
    } catch (const cairn::error& e) {
        std::cerr << name(e.code()) << ": " << e.what() << "\n";
        return 1;
    }
}
