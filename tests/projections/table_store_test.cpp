// SPDX-License-Identifier: Apache-2.0
//
// The contract of stores, held against each of them.
#include "main/complaint.hpp"
#include "main/seed.hpp"
#include "stores.hpp"

#include <cairn/projections/projection.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <random>
#include <thread>

using namespace cairn;
using namespace cairn::testing;

namespace {

std::vector<table_shape> shapes_of_two()
{
    struct : projection_base
    {
        table<std::string, std::int64_t> spent{this, "spent", {"customer", "cents"}};
        table<std::string, std::string>  places{this, "places"};
    } two;
    return detail::access_of(two).shapes();
}
const auto two_tables = shapes_of_two();

std::string key_of(const std::string& text)
{
    std::string bytes;
    detail::put_key(bytes, text);
    return bytes;
}
std::string value_of(std::int64_t n)
{
    std::string bytes;
    detail::put_value(bytes, n);
    return bytes;
}

void commit(projection_tables&                                        tables,
            const std::map<std::string, std::optional<std::int64_t>>& rows, std::int64_t next = 0)
{
    auto                    writer = tables.write();
    auto                    c      = writer->checkpoint();
    std::deque<std::string> kept;
    std::vector<row_change> changes;
    for (const auto& [key, value] : rows) {
        const auto& k = kept.emplace_back(key_of(key));
        if (value)
            changes.push_back({0, k, kept.emplace_back(value_of(*value))});
        else
            changes.push_back({0, k, std::nullopt});
    }
    c.partitions[{"orders", 0}] = {offset{next}, position{next}};
    writer->commit(changes, c);
}

std::optional<std::int64_t> get(table_reader& from, const std::string& key)
{
    std::string value;
    if (!from.get(0, key_of(key), value)) return std::nullopt;
    return detail::value_from<std::int64_t>(value);
}

std::string keys(table_reader& from, const key_range& rows)
{
    std::string all;
    for (auto c = from.scan(0, rows); c->next();)
        all += detail::key_from<std::string>(c->key()) + " ";
    return all;
}

}  // namespace

TEST_CASE("rows and checkpoint are committed together, or neither")
{
    a_store s{CAIRN_EACH_STORE};
    CAPTURE(s.kind);
    auto tables = s.store->open("sales", 1, 1, two_tables);
    CHECK(tables->read()->checkpoint().partitions.empty());
    commit(*tables, {{"ada", 30}, {"bob", 20}}, 2);
    {
        auto writer = tables->write();  // and nothing is committed
        CHECK(get(*writer, "ada") == 30);
    }
    CHECK(get(*tables->read(), "ada") == 30);
    CHECK(tables->read()->checkpoint().partitions.at({"orders", 0}).next == offset{2});
    commit(*tables, {{"ada", std::nullopt}, {"carl", 1}, {"nobody", std::nullopt}}, 3);
    CHECK_FALSE(get(*tables->read(), "ada"));
    CHECK(tables->read()->count(0) == 2);
    CHECK(tables->read()->checkpoint().partitions.at({"orders", 0}).next == offset{3});
    if (!s.lasts()) return;
    tables.reset();
    s.reopen();
    tables = s.store->open("sales", 1, 1, two_tables);
    CHECK(get(*tables->read(), "carl") == 1);
    CHECK(tables->read()->count(0) == 2);
    CHECK(tables->read()->checkpoint().partitions.at({"orders", 0}).next == offset{3});
}

TEST_CASE("a reader sees whole commits, and goes on seeing the one it began with")
{
    a_store s{CAIRN_EACH_STORE};
    CAPTURE(s.kind);
    const auto tables = s.store->open("sales", 1, 1, two_tables);
    commit(*tables, {{"ada", 1}, {"bob", 1}});
    const auto before = tables->read();
    CHECK(get(*before, "ada") == 1);
    for (int i = 2; i < 10; ++i) commit(*tables, {{"ada", i}, {"bob", i}, {"carl", i}});
    commit(*tables, {{"bob", std::nullopt}});
    CHECK(get(*before, "ada") == 1);
    CHECK(keys(*before, {}) == "ada bob ");
    CHECK(before->count(0) == 2);
    CHECK(keys(*tables->read(), {}) == "ada carl ");
    CHECK(get(*tables->read(), "ada") == 9);
}

TEST_CASE("rows come in the order of their keys, from where and to where is asked, both ways")
{
    a_store s{CAIRN_EACH_STORE};
    CAPTURE(s.kind);
    const auto tables = s.store->open("sales", 1, 1, two_tables);
    const auto empty  = tables->read();
    CHECK(keys(*empty, {}).empty());
    CHECK(keys(*empty, {{}, {}, true}).empty());
    commit(*tables, {{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}});
    const auto r = tables->read();
    CHECK(keys(*r, {}) == "a b c d ");
    CHECK(keys(*r, {key_of("b")}) == "b c d ");
    CHECK(keys(*r, {key_of("b"), key_of("d")}) == "b c ");
    CHECK(keys(*r, {key_of("bb"), key_of("x")}) == "c d ");
    CHECK(keys(*r, {key_of("x")}).empty());
    CHECK(keys(*r, {{}, {}, true}) == "d c b a ");
    CHECK(keys(*r, {key_of("b"), key_of("d"), true}) == "c b ");
    CHECK(keys(*r, {key_of("b"), key_of("x"), true}) == "d c b ");
    CHECK(keys(*r, {{}, key_of("a"), true}).empty());
}

TEST_CASE("a version that was made with other tables is not opened")
{
    a_store s{CAIRN_EACH_STORE};
    CAPTURE(s.kind);
    (void)s.store->open("sales", 1, 1, two_tables);
    auto other     = two_tables;
    other[0].value = detail::columns_of<std::string>();
    const auto e   = complaint_of([&] { (void)s.store->open("sales", 1, 1, other); });
    CHECK(e->says("spent(text) -> (i64)"));
    CHECK(e->says("spent(text) -> (text)"));
}

TEST_CASE("of a projection one version is active, and a version that is dropped is gone")
{
    a_store s{CAIRN_EACH_STORE};
    CAPTURE(s.kind);
    CHECK(s.store->versions("sales").empty());
    for (const int n : {1, 2, 10})
        commit(*s.store->open("sales", n, 1, two_tables), {{"ada", n}}, n);
    (void)s.store->open("sales-by-day", 7, 1, two_tables);
    s.store->activate("sales", 1);
    s.store->activate("sales", 10);
    if (s.lasts()) s.reopen();
    auto all = s.store->versions("sales");
    REQUIRE(all.size() == 3);
    CHECK((all[0].number == 1 && !all[0].active));
    CHECK((all[2].number == 10 && all[2].active));
    CHECK(all[2].checkpoint.partitions.at({"orders", 0}).next == offset{10});
    s.store->drop("sales", 2);
    CHECK(s.store->versions("sales").size() == 2);
    CHECK_FALSE(get(*s.store->open("sales", 2, 1, two_tables)->read(), "ada"));
}

TEST_CASE("one has the right to change tables at a time, and one of before is refused")
{
    a_store s{CAIRN_EACH_STORE};
    CAPTURE(s.kind);
    const auto       tables = s.store->open("sales", 1, 1, two_tables);
    std::atomic<int> inside{0}, most{0};
    const auto       add = [&] {
        for (int i = 0; i < 50; ++i) {
            auto writer  = tables->write();
            most         = std::max(most.load(), ++inside);
            const auto k = key_of("n");
            const auto v = value_of(get(*writer, "n").value_or(0) + 1);
            row_change c{0, k, v};
            --inside;
            writer->commit({&c, 1}, writer->checkpoint());
        }
    };
    std::thread one{add}, two{add};
    one.join();
    two.join();
    CHECK(most == 1);
    CHECK(get(*tables->read(), "n") == 100);

    auto newer  = tables->read()->checkpoint();
    auto older  = newer;
    newer.epoch = 5;
    older.epoch = 4;
    tables->write()->commit({}, newer);
    tables->write()->commit({}, newer);
    CHECK(complaint_of([&] { tables->write()->commit({}, older); }) == errc::fenced_generation);
}

namespace {

struct people : projection_base
{
    struct person
    {
        std::string  town;
        std::int64_t cents = 0;

        friend bool operator==(const person&, const person&) = default;
    };
    table<std::string, person>              all{this, "people"};
    table_index<std::string, decltype(all)> by_town{
        all, "people_by_town", [](const std::string&, const person& p) { return p.town; }};
    table<std::pair<std::string, std::int32_t>, std::int64_t> days{this, "days"};
};

}  // namespace

TEST_CASE("random changes through tables and an index are as those of a std::map")
{
    a_store s{CAIRN_EACH_STORE};
    CAPTURE(s.kind);
    std::mt19937_64                       random{testing::seed()};
    people                                p;
    auto&                                 access = detail::access_of(p);
    const auto                            tables = s.store->open("people", 1, 1, access.shapes());
    std::map<std::string, people::person> model;

    const auto agrees = [&] {
        std::map<std::string, people::person>   found;
        std::multimap<std::string, std::string> towns, wanted;
        std::vector<std::string>                backwards;
        for (const auto& [key, value] : p.all.rows()) found.emplace(key, value);
        for (const auto& [key, value] : p.all.rows_backwards()) backwards.push_back(key);
        for (const auto& [key, value] : p.by_town.rows()) towns.emplace(value.town, key);
        for (const auto& [key, value] : model) wanted.emplace(value.town, key);
        REQUIRE(found == model);
        REQUIRE(towns == wanted);
        REQUIRE(backwards.size() == model.size());
        REQUIRE(std::is_sorted(backwards.rbegin(), backwards.rend()));
        REQUIRE(p.all.size() == model.size());
        const std::string town(1, static_cast<char>('a' + random() % 3));
        std::size_t       of_town = 0;
        for (const auto& [key, value] : p.by_town.rows(town)) of_town += value.town == town;
        REQUIRE(of_town == wanted.count(town));
        const auto  from = std::to_string(random() % 20), to = std::to_string(random() % 20);
        std::size_t between = 0;
        for (const auto& [key, value] : p.all.rows(from, to)) between += key >= from && key < to;
        REQUIRE(between == static_cast<std::size_t>(std::count_if(
                               model.begin(), model.end(),
                               [&](const auto& m) { return m.first >= from && m.first < to; })));
    };
    for (int batch = 0; batch < 60; ++batch) {
        auto writer = tables->write();
        access.write(writer.get());
        for (auto n = random() % 12; n > 0; --n) {
            const auto key = std::to_string(random() % 20);
            if (random() % 3 == 0) {
                p.all.erase(key);
                model.erase(key);
            } else {
                const people::person now{std::string(1, static_cast<char>('a' + random() % 3)),
                                         static_cast<std::int64_t>(random() % 100)};
                if (random() % 2)
                    p.all.put(key, now);
                else
                    p.all.update(key, [&](auto& is) { is = now; });
                model[key] = now;
            }
            REQUIRE(p.all.contains(key) == model.contains(key));
        }
        agrees();
        writer->commit(access.changes(), writer->checkpoint());
        access.committed();
        writer.reset();
        const auto reader = tables->read();
        access.read(reader.get());
        agrees();
        access.read(nullptr);
    }
}

TEST_CASE("rows whose key begins with some fields are found by these")
{
    a_store s{CAIRN_EACH_STORE};
    CAPTURE(s.kind);
    people     p;
    auto&      access = detail::access_of(p);
    const auto tables = s.store->open("people", 1, 1, access.shapes());
    auto       writer = tables->write();
    access.write(writer.get());
    p.days.put({"UK", 1}, 10);
    p.days.put({"UK", -2}, 20);
    p.days.put({"U", 3}, 30);
    p.days.put({"UKX", 4}, 40);
    std::int64_t sum = 0;
    for (const auto& [key, cents] : p.days.rows_with("UK")) sum += cents;
    CHECK(sum == 30);
}

TEST_CASE("a table that is asked outside of a reading, or changed outside of on(), says so")
{
    people p;
    CHECK(complaint_of([&] { (void)p.all.find("ada"); })->says("view::read()"));
    const auto tables = memory_tables()->open("people", 1, 1, detail::access_of(p).shapes());
    const auto reader = tables->read();
    detail::access_of(p).read(reader.get());
    CHECK(complaint_of([&] { p.all.put("ada", {}); })->says("outside of on()"));
    auto writer = tables->write();
    detail::access_of(p).write(writer.get());
    CHECK(complaint_of([&] { p.all.put(std::string(600, 'x'), {}); })->says("at most 500"));
}

TEST_CASE("a table has a good name, and its own")
{
    struct bad : projection_base
    {
        explicit bad(std::string name) : one{this, std::move(name)} {}
        table<std::string, int> one;
    };
    struct twice : projection_base
    {
        table<std::string, int> one{this, "one"}, other{this, "one"};
    };
    CHECK(complaint_of([] { bad{"Drop Table"}; })->says("'Drop Table'"));
    CHECK(complaint_of([] { twice{}; })->says("two tables called 'one'"));
}
