// SPDX-License-Identifier: Apache-2.0
//
// What the index promises, one by one. index_model_test.cpp asks for all of it at once.
#include "index_fixture.hpp"

#include "file.hpp"
#include "index/memtable.hpp"
#include "index/run.hpp"
#include "index/run_merge.hpp"
#include "main/complaint.hpp"
#include "main/seed.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>

namespace cairn::testing {
namespace {

/// An index on disk, the model beside it, and words for what is done to both.
class store
{
public:
    explicit store(std::size_t fan_in = 4) : fan_in_{fan_in} { open(); }

    void open(bool read_only = false)
    {
        index_.reset();
        index::options o;
        o.directory    = path();
        o.key          = test_key;
        o.merge_fan_in = fan_in_;
        o.read_only    = read_only;
        index_ = std::make_unique<index>(o, [this](const std::string& d) { damage.push_back(d); });
    }
    void close() { index_.reset(); }

    /// A record of a stream, with types and tags; "" for none.
    version add(const std::string& stream, const std::vector<std::string>& types = {},
                const std::vector<std::string>& tags = {}, const std::string& command = "")
    {
        indexed_record r;
        r.position = index_->end();
        r.offset   = offset{r.position.value + 5};
        r.at       = static_cast<std::uint32_t>(r.position.value * 3);
        r.check    = ~r.at;
        if (!stream.empty()) r.stream = hasher.stream(1, stream);
        if (!command.empty()) r.command = hasher.command(command);
        for (const auto& t : types)
            r.terms.push_back(hasher.type(t));
        for (const auto& t : tags)
            r.terms.push_back(hasher.tag(t));
        const auto v = index_->add(r.entry());
        REQUIRE(model.add(r) == v);
        return v;
    }
    void add_some(int n)
    {
        for (int i = 0; i < n; ++i, ++added_)
            add("s" + std::to_string(added_ * 7 % 5), {"t" + std::to_string(added_ % 3)},
                {"tag" + std::to_string(added_ % 11)}, "c" + std::to_string(added_ / 2));
    }
    void flush() { index_->flush(); }

    /// Everything that can be asked, below `end`, is as the model says.
    void check(position end) const
    {
        index_model known;
        for (const auto& r : model.records)
            if (r.position < end) known.add(r);
        known.end = end;
        REQUIRE(index_->end() == end);
        std::map<term, stream_head> heads;
        index_->each_stream([&](term t, const stream_head& h) { return heads[t] = h, true; });
        REQUIRE(heads == known.heads());
        for (const auto& [t, h] : heads) {
            REQUIRE(index_->head(t) == h);
            for (const auto d : {direction::forward, direction::backward}) {
                const version from{d == direction::forward ? 0 : h.count};
                REQUIRE(index_->stream(t, from, d, no_limit) ==
                        known.stream(t, from, d, no_limit));
            }
        }
        for (const auto& r : known.records) {
            if (r.command) REQUIRE(index_->command(r.command) == known.command(r.command));
            for (const auto& t : r.terms) {
                const query_terms q{{{{}, {t}}}};
                REQUIRE(index_->matches(q, r.position, r.position.next(), direction::forward, 2) ==
                        std::vector{r.position});
            }
        }
        index_->verify([](const std::string& fault) { FAIL(fault); });
    }
    void check() const { check(model.end); }

    std::string              path() const { return directory_ / "index"; }
    std::vector<std::string> files() const { return list_directory(path()); }
    std::string              file_of(position first, position end) const
    {
        return path() + '/' + run_file_name(first, end);
    }
    index* operator->() const { return index_.get(); }
    index& operator*() const { return *index_; }

    index_model              model;
    term_hasher              hasher{test_key};
    std::vector<std::string> damage;

private:
    temporary_directory    directory_{place::disk};
    std::size_t            fan_in_;
    std::unique_ptr<index> index_;
    int                    added_ = 0;
};

void flip(const std::string& path, std::uint64_t byte)
{
    file        f{path, file::access::write};
    std::string b(1, '\0');
    f.read_at(byte, b.data(), 1);
    b[0] = static_cast<char>(b[0] ^ 1);
    f.write_at(byte, b);
}

query_terms all_of(std::vector<term> tags)
{
    return {{{{}, std::move(tags)}}};
}

}  // namespace

// ---- The invariants. ---------------------------------------------------------------------

TEST_CASE("every position below end() has been added, in order, once, or left no trace")
{
    store s;
    s.add_some(3);
    CHECK(s->end() == position{3});
    index_entry again;
    again.position = position{2};
    CHECK(code_of([&] { s->add(again); }) == errc::invalid_argument);
    CHECK(code_of([&] { s->set_end(position{2}); }) == errc::invalid_argument);
    s->set_end(position{10});
    CHECK(s->end() == position{10});
    CHECK(s->head(term{1, 2}).count == 0);
    const query_terms everything{{{}}};
    CHECK(s->last_match(everything, position{7}, position{10}) == position{9});
    CHECK(s->matches(everything, position{2}, position{99}, direction::forward, 99).size() == 8);
}

TEST_CASE("of a batch with a position out of order nothing is added")
{
    store                    s;
    std::vector<index_entry> batch(3);
    for (int i = 0; i < 3; ++i) {
        batch[static_cast<std::size_t>(i)].position = position{i == 2 ? 0 : i};
        batch[static_cast<std::size_t>(i)].stream   = term{1, 1};
    }
    std::vector<version> versions(3);
    CHECK(code_of([&] { s->add(batch, versions); }) == errc::invalid_argument);
    CHECK(s->end() == position{0});
    CHECK(s->head(term{1, 1}).count == 0);
}

TEST_CASE("what runs hold is exactly the positions below checkpoint()")
{
    store s;
    s.add_some(20);
    CHECK(s->checkpoint() == position{0});
    s.flush();
    CHECK(s->checkpoint() == position{20});
    s.add_some(5);
    CHECK(s->checkpoint() == position{20});
    s.open();  // what was not flushed is gone
    CHECK(s->checkpoint() == position{20});
    s.check(position{20});
}

TEST_CASE("positions that had nothing to add are covered too")
{
    store s;
    s.add_some(2);
    s->set_end(position{50});
    s.flush();
    CHECK(s->checkpoint() == position{50});
    s->set_end(position{60});
    s.flush();
    s.open();
    CHECK(s->checkpoint() == position{60});
}

TEST_CASE("versions of a stream are dense, from 0, in the order of positions")
{
    store s{2};
    for (int i = 0; i < 40; ++i) {
        CHECK(s.add("one") == version{i});
        CHECK(s.add("other") == version{i});
        CHECK(s.add("") == version{-1});
        if (i % 5 == 4) s.flush();
        if (i % 9 == 8) s->merge();
        if (i % 10 == 9) s.open();
    }
    s.check();
}

TEST_CASE("a flush with nothing in memory does nothing")
{
    store s;
    s.flush();
    s.add_some(3);
    s.flush();
    s.flush();
    CHECK(s->statistics().flushes == 1);
    CHECK(s.files().size() == 1);
}

TEST_CASE("statistics say what is in memory and what in runs")
{
    store s;
    s.add_some(100);
    const auto full = s->statistics();
    CHECK(full.entries_in_memory == 100);
    CHECK(full.bytes_in_memory > 100 * 40);
    CHECK(full.runs == 0);
    s.flush();
    const auto flushed = s->statistics();
    CHECK(flushed.entries_in_memory == 0);
    CHECK(flushed.bytes_in_memory < full.bytes_in_memory);
    CHECK(flushed.runs == 1);
    CHECK(flushed.run_bytes == std::filesystem::file_size(s.file_of(position{0}, position{100})));
}

// ---- Lookups. ----------------------------------------------------------------------------

TEST_CASE("a hint is right however many runs are made and merged meanwhile")
{
    store                                s{2};
    lookup_hint<stream_head>             head;
    lookup_hint<std::optional<position>> match;
    const auto                           stream = s.hasher.stream(1, "s1");
    const auto                           q      = all_of({s.hasher.tag("tag3")});
    for (int i = 0; i < 60; ++i) {
        CHECK(s->head(stream, &head) == s.model.head(stream));
        CHECK(s->last_match(q, std::nullopt, s->end(), &match) ==
              s.model.last_match(q, std::nullopt, s->end()));
        s.add_some(i % 4);
        if (i % 3 == 0) s.flush();
        if (i % 7 == 0) s->merge();
    }
}

TEST_CASE("an entry that brings its version goes on from what runs and memory have")
{
    store s;
    s.add("a");
    s.flush();
    index_entry e;
    e.stream = s.hasher.stream(1, "a");
    for (const int before : {1, 2}) {
        e.position = s->end();
        e.version  = version{before};
        CHECK(s->add(e) == version{before});
    }
    CHECK(s->head(e.stream).count == 3);
}

TEST_CASE("a stream of many events is read from anywhere, both ways")
{
    store s{3};
    for (int i = 0; i < 1000; ++i) {
        s.add("heavy");
        if (i % 17 == 0) s.add("light" + std::to_string(i));
        if (i % 150 == 149) s.flush();
        if (i == 700) s->merge();
    }
    const auto heavy = s.hasher.stream(1, "heavy");
    for (const int from : {-1, 0, 1, 30, 31, 32, 449, 450, 451, 899, 900, 999, 1000, 1001})
        for (const std::size_t max : {std::size_t{0}, std::size_t{1}, std::size_t{10}, no_limit})
            for (const auto d : {direction::forward, direction::backward})
                REQUIRE(s->stream(heavy, version{from}, d, max) ==
                        s.model.stream(heavy, version{from}, d, max));
}

TEST_CASE("a type of many events is searched by position, however they are spread")
{
    std::mt19937_64 random{7};
    const auto      far = GENERATE(1.0, 3.0, 9.0);  // the larger, the more uneven
    temporary_directory directory{place::disk};
    index               i{{.directory = directory / "index", .key = test_key}};
    const term          type{5, 5};
    const term          rare{6, 6};
    std::vector<std::int64_t> positions;
    std::vector<std::int64_t> both;
    for (int n = 0; n < 5000; ++n) {
        const double even = (n + 1) / 5000.0;
        const auto   p    = static_cast<std::int64_t>(std::pow(even, far) * 3e9) + n;
        std::vector<term> terms{type};
        if (random() % 500 == 0) terms.push_back(rare);
        if (terms.size() > 1) both.push_back(p);
        positions.push_back(p);
        index_entry e;
        e.position = position{p};
        e.terms    = terms;
        i.add(e);
    }
    i.flush();
    const query_terms q{{{{type}, {}}}};
    const query_terms rare_ones{{{{type}, {rare}}}};
    for (int n = 0; n < 2000; ++n) {
        const auto at = static_cast<std::int64_t>(random() % 3'100'000'000);
        const auto next = std::lower_bound(positions.begin(), positions.end(), at);
        const auto found =
            i.matches(q, position{at}, i.end(), direction::forward, 1);
        REQUIRE(found.empty() == (next == positions.end()));
        if (!found.empty()) REQUIRE(found[0].value == *next);
        const auto last = i.last_match(q, std::nullopt, position{at});
        REQUIRE(last.has_value() == (next != positions.begin()));
        if (last) REQUIRE(last->value == *std::prev(next));
        const auto near = std::lower_bound(both.begin(), both.end(), at);
        const auto last_of_both = i.last_match(rare_ones, std::nullopt, position{at});
        REQUIRE(last_of_both.has_value() == (near != both.begin()));
        if (last_of_both) REQUIRE(last_of_both->value == *std::prev(near));
    }
    CHECK(i.matches(q, position{0}, i.end(), direction::forward, no_limit).size() == 5000);
    CHECK(i.matches(q, position{0}, i.end(), direction::backward, no_limit).size() == 5000);
}

TEST_CASE("terms whose hashes crowd together are found, and those between them are not")
{
    temporary_directory directory{place::disk};
    index               i{{.directory = directory / "index", .key = test_key, .merge_fan_in = 2}};
    for (std::int64_t n = 0; n < 400; ++n) {
        index_entry e;
        e.position = position{n};
        e.offset   = offset{n};
        e.stream   = term{7, static_cast<std::uint64_t>(2 * (n % 200)) << 16 | 1};
        e.command  = e.stream;
        const std::vector<term> terms{e.stream};
        e.terms = terms;
        i.add(e);
        if (n % 100 == 99) i.flush();
    }
    i.merge();
    for (std::uint64_t n = 0; n < 399; ++n) {
        const term t{7, n << 16 | 1};
        CHECK(i.head(t).count == (n % 2 == 0 ? 2 : 0));
        CHECK(i.command(t).has_value() == (n % 2 == 0));
        CHECK(i.last_match(all_of({t}), std::nullopt, i.end()).has_value() == (n % 2 == 0));
    }
    i.verify([](const std::string& fault) { FAIL(fault); });
}

TEST_CASE("an item without types and tags matches every position, also one without entries")
{
    store s;
    s.add("a");
    s.flush();
    s->set_end(position{4});
    const query_terms q{{{{s.hasher.type("never")}, {}}, {}}};
    CHECK(s->last_match(q, std::nullopt, position{9}) == position{3});
    CHECK(s->last_match(q, position{3}, position{9}) == std::nullopt);
    CHECK(s->matches(q, position{0}, position{3}, direction::backward, 9) ==
          std::vector{position{2}, position{1}, position{0}});
}

TEST_CASE("a query without items matches nothing")
{
    store s;
    s.add_some(9);
    s.flush();
    s.add_some(9);
    CHECK(s->last_match({}, std::nullopt, s->end()) == std::nullopt);
    CHECK(s->matches({}, position{0}, s->end(), direction::forward, 9).empty());
}

TEST_CASE("a query finds only what is after `after` and before `before`")
{
    store s;
    for (int i = 0; i < 3; ++i)
        s.add("", {}, {"x"});
    const auto q = all_of({s.hasher.tag("x")});
    for (int flushed = 0; flushed < 2; ++flushed, s.flush()) {
        CHECK(s->last_match(q, position{1}, s->end()) == position{2});
        CHECK(s->last_match(q, position{2}, s->end()) == std::nullopt);
        CHECK(s->last_match(q, position{-1}, s->end()) == position{2});
        CHECK(s->last_match(q, std::nullopt, position{1}) == position{0});
        CHECK(s->last_match(q, std::nullopt, position{0}) == std::nullopt);
        CHECK(s->last_match(q, position{99}, position{999}) == std::nullopt);
    }
}

TEST_CASE("a record that repeats a term is found once")
{
    store s;
    s.add("", {"t", "t"}, {"x", "x", "x"});
    const query_terms q{{{{s.hasher.type("t")}, {s.hasher.tag("x")}}}};
    for (int flushed = 0; flushed < 2; ++flushed, s.flush())
        CHECK(s->matches(q, position{0}, s->end(), direction::forward, 9).size() == 1);
}

TEST_CASE("a command's append is one, also where it lies across runs")
{
    store s{2};
    s.add("a", {}, {}, "c1");
    s.add("b", {}, {}, "c1");
    s.flush();
    s.add("c", {}, {}, "c1");
    s.flush();
    s.add("d", {}, {}, "c1");
    s.add("e", {}, {}, "c2");
    const auto c1 = command_found{position{0}, 4};
    CHECK(s->command(s.hasher.command("c1")) == c1);
    s.flush();
    while (s->merge()) {
    }
    CHECK(s->command(s.hasher.command("c1")) == c1);
    CHECK(s->command(s.hasher.command("c2")) == command_found{position{4}, 1});
    CHECK(s->command(s.hasher.command("c3")) == std::nullopt);
}

// ---- Files. ------------------------------------------------------------------------------

TEST_CASE("a hole of more positions than a run covers is bridged")
{
    store s{2};
    s.add("a", {"t"});
    s->set_end(position{10'000'000'000});
    const auto far = s->end();
    s.add("a", {"t"});
    const auto t = s.hasher.stream(1, "a");
    for (int round = 0; round < 3; ++round) {
        CHECK(s->head(t).count == 2);
        CHECK(s->head(t).last_position == far);
        CHECK(s->stream(t, version{0}, direction::forward, 9).size() == 2);
        CHECK(s->matches({{{{s.hasher.type("t")}, {}}}}, position{0}, s->end(),
                         direction::forward, 9) == std::vector{position{0}, far});
        if (round == 0) s.flush();
        if (round == 1) s->merge();
    }
    CHECK(s->statistics().runs >= 3);
    CHECK(s.add("a") == version{2});
    s.open();
    CHECK(s->checkpoint() == far.next());
}

TEST_CASE("opening takes the widest runs that chain from 0, and removes the rest")
{
    store s;
    for (int i = 0; i < 4; ++i) {
        s.add_some(10);
        s.flush();
    }
    const auto narrow = s.files();
    REQUIRE(narrow.size() == 4);
    std::map<std::string, std::string> kept;
    for (const auto& name : narrow)
        kept[name] = read_file(s.path() + '/' + name);
    REQUIRE(s->merge());
    s.add_some(10);
    s.flush();
    const auto good = s.files();
    REQUIRE(good.size() == 2);
    s.close();

    // As a crash between the merge's rename and its unlinking would leave it, and worse.
    for (const auto& [name, bytes] : kept)
        write_file_atomically(s.path() + '/' + name, bytes);
    write_file_atomically(s.file_of(position{55}, position{60}), "unconnected");
    write_file_atomically(s.file_of(position{50}, position{60}) + ".tmp", "half");
    write_file_atomically(s.path() + "/folded.state", "not the index's");

    s.open(true);
    s.check();
    CHECK(s.files().size() == good.size() + 7);  // read-only removes nothing
    s.open();
    s.check();
    auto left = s.files();
    CHECK(std::erase(left, "folded.state") == 1);
    CHECK(left == good);
    CHECK(s.damage.empty());
}

TEST_CASE("a merged run that is damaged gives way to what it was made of")
{
    store s;
    for (int i = 0; i < 4; ++i) {
        s.add_some(10);
        s.flush();
    }
    std::map<std::string, std::string> kept;
    for (const auto& name : s.files())
        kept[name] = read_file(s.path() + '/' + name);
    REQUIRE(s->merge());
    s.close();
    for (const auto& [name, bytes] : kept)
        write_file_atomically(s.path() + '/' + name, bytes);
    flip(s.file_of(position{0}, position{40}), 20);
    s.open();
    CHECK(s.damage.size() == 1);
    CHECK(s->statistics().runs == 4);
    s.check();
}

TEST_CASE("a run that does not check ends what is taken; it and all after it are removed")
{
    store s{9};
    for (int i = 0; i < 5; ++i) {
        s.add_some(10);
        s.flush();
    }
    s.close();
    const auto bad = s.file_of(position{20}, position{30});
    SECTION("a flipped bit") { flip(bad, 16); }
    SECTION("too short") { std::filesystem::resize_file(bad, 700); }
    SECTION("empty") { std::filesystem::resize_file(bad, 0); }
    SECTION("too long")
    {
        std::filesystem::resize_file(bad, std::filesystem::file_size(bad) + 512);
    }
    SECTION("another's name")
    {
        std::filesystem::copy_file(s.file_of(position{30}, position{40}), bad,
                                   std::filesystem::copy_options::overwrite_existing);
    }
    s.open();
    REQUIRE(s.damage.size() == 1);
    CHECK_THAT(s.damage[0], Catch::Contains(run_file_name(position{20}, position{30})));
    CHECK(s->checkpoint() == position{20});
    CHECK(s.files().size() == 2);
    s.check(position{20});
}

TEST_CASE("a missing run ends what is taken")
{
    store s{9};
    for (int i = 0; i < 3; ++i) {
        s.add_some(10);
        s.flush();
    }
    s.close();
    remove_file(s.file_of(position{10}, position{20}));
    s.open();
    CHECK(s->checkpoint() == position{10});
    CHECK(s.files().size() == 1);
    CHECK(s.damage.empty());
}

TEST_CASE("runs made with another key are not believed")
{
    store s;
    s.add_some(10);
    s.flush();
    std::vector<std::string> damage;
    index                    i{{.directory = s.path(), .key = {1, 2}, .read_only = true},
            [&](const std::string& d) { damage.push_back(d); }};
    CHECK(damage.size() == 1);
    CHECK(i.end() == position{0});
}

TEST_CASE("read-only, an index can be added to, and writes nothing")
{
    store s{2};
    s.add_some(10);
    s.flush();
    const auto before = s.files();
    s.open(true);
    for (int i = 0; i < 3; ++i) {
        s.add_some(10);
        s.flush();
        s->merge();
    }
    s.check();
    CHECK(s.files() == before);
}

TEST_CASE("read-only, there need be no directory")
{
    temporary_directory d{place::disk};
    const index         i{{.directory = d / "none", .key = test_key, .read_only = true}};
    CHECK(i.end() == position{0});
    CHECK(!std::filesystem::exists(d / "none"));
}

TEST_CASE("after a flush or a merge that failed all is as before, and it may be tried again")
{
    store s{2};
    s.add_some(10);
    s.flush();
    s.add_some(10);
    std::filesystem::rename(s.path(), s.path() + ".away");
    CHECK(code_of([&] { s.flush(); }) == errc::io_failed);
    s.check();
    s.add_some(10);
    CHECK(code_of([&] { s.flush(); }) == errc::io_failed);
    s.check();
    std::filesystem::rename(s.path() + ".away", s.path());
    s.flush();
    CHECK(s->checkpoint() == position{30});
    CHECK(s->statistics().entries_in_memory == 0);
    s.check();

    std::filesystem::rename(s.path(), s.path() + ".away");
    CHECK(code_of([&] { s->merge(); }) == errc::io_failed);
    s.check();
    std::filesystem::rename(s.path() + ".away", s.path());
    CHECK(s->merge());
    s.check();
    s.open();
    s.check();
}

// ---- In memory. --------------------------------------------------------------------------

TEST_CASE("in a memtable nodes are in the order of positions, and a node never changes")
{
    std::mt19937_64 random{seed()};
    memtable        m{position{0}};

    // As each was when it was added, and where.
    std::vector<std::pair<const memtable::event_node*, memtable::event_node>> nodes;
    std::map<std::uint64_t, std::int64_t>                                      versions;
    std::int64_t                                                               p = 0;
    for (int n = 0; n < 20'000; ++n) {
        const auto  stream = 1 + random() % (random() % 2 == 0 ? 3 : 500);
        index_entry e;
        e.position = position{p += 1 + static_cast<std::int64_t>(random() % 3)};
        e.offset   = offset{n};
        e.at       = static_cast<std::uint32_t>(n * 7);
        e.stream   = term{stream, stream << 16};
        m.reserve_more({&e, 1});
        REQUIRE(m.add(e, 0).value == versions[stream]++);

        const auto& node = m.event(m.find_stream(e.stream)->last);
        CHECK(m.find_stream(e.stream)->last == nodes.size());
        nodes.emplace_back(&node, node);
    }
    std::int64_t before = -1;
    for (std::uint32_t n = 0; n < nodes.size(); ++n) {
        const auto& [where, was] = nodes[n];
        const auto& is           = m.event(n);
        REQUIRE(&is == where);
        REQUIRE(is.position > before);
        REQUIRE(is.position == was.position);
        REQUIRE(is.offset == was.offset);
        REQUIRE(is.at == was.at);
        REQUIRE(is.check == was.check);
        REQUIRE(is.previous == was.previous);
        REQUIRE(is.jump == was.jump);
        before = is.position;
    }
}

// ---- Merging. ----------------------------------------------------------------------------

TEST_CASE("a merged run is the run that one flush would have made")
{
    store s{2};
    for (int i = 0; i < 12; ++i) {
        s.add_some(9);
        s.flush();
        while (s->merge()) {
        }
    }
    store whole;
    whole.add_some(108);
    whole.flush();
    CHECK(s->slice(position{0}, position{108}) ==
          read_file(whole.file_of(position{0}, position{108})));
}

TEST_CASE("merging keeps few runs, and writes each event few times")
{
    const std::size_t fan_in = 8;
    std::mt19937_64   random{3};
    const bool        uneven = GENERATE(false, true);
    std::vector<std::uint64_t> sizes;
    double                     written = 0;
    double                     flushed = 0;
    std::size_t                most    = 0;
    const auto any = [](std::size_t, std::size_t) { return true; };
    for (int i = 0; i < 20'000; ++i) {
        sizes.push_back(uneven ? 100 + random() % 10'000 : 5000 + random() % 500);
        flushed += static_cast<double>(sizes.back());
        while (const auto picked = pick_merge(sizes, fan_in, any)) {
            const auto begin = sizes.begin() + static_cast<std::ptrdiff_t>(picked->first);
            const auto end   = sizes.begin() + static_cast<std::ptrdiff_t>(picked->second);
            *begin           = std::accumulate(begin, end, std::uint64_t{0});
            written += static_cast<double>(*begin);
            sizes.erase(begin + 1, end);
        }
        most = std::max(most, sizes.size());
    }
    INFO("at most " << most << " runs, written " << written / flushed << " times");
    CHECK(most <= 30);  // log8(20,000) = 4.8 classes, of up to 7 each
    CHECK(written / flushed <= 6);
}

TEST_CASE("a merge that is stopped returns, and leaves all as it was")
{
    store s{2};
    for (int i = 0; i < 2; ++i) {
        s.add_some(10);
        s.flush();
    }
    s->stop_merging();
    CHECK_FALSE(s->merge());
    CHECK(s.files().size() == 2);
    s.check();
}

// ---- Slices. -----------------------------------------------------------------------------

TEST_CASE("an index made again from slices is the same, versions too")
{
    store s{3};
    for (int i = 0; i < 7; ++i) {
        s.add_some(30);
        s.flush();
        s->merge();
    }
    for (const int step : {1, 13, 30, 64, 210}) {
        std::vector<std::string> slices;
        for (int at = 0; at < 210; at += step)
            slices.push_back(s->slice(position{at}, position{std::min(at + step, 210)}));
        index again{{.key = test_key}};
        for (const auto& slice : slices)
            again.add_slice(slice);
        REQUIRE(again.checkpoint() == position{210});
        REQUIRE(again.slice(position{0}, position{210}) ==
                s->slice(position{0}, position{210}));
    }
}

TEST_CASE("what a slice begins with keeps its versions where what was before is gone")
{
    store s;
    s.add_some(100);
    s.flush();
    const auto slice = s->slice(position{60}, position{100});
    index      again{{.key = test_key}};
    again.set_end(position{60});
    again.add_slice(slice);
    const auto t = s.hasher.stream(1, "s1");
    CHECK(again.head(t) == s->head(t));
    const auto all = s->stream(t, version{0}, direction::forward, no_limit);
    const auto newer = again.stream(t, version{0}, direction::forward, no_limit);
    REQUIRE(newer.size() < all.size());
    CHECK(std::equal(newer.rbegin(), newer.rend(), all.rbegin()));
    index_entry next;
    next.position = again.end();
    next.offset   = offset{1000};
    next.stream   = t;
    CHECK(again.add(next).value == s->head(t).count);
}

TEST_CASE("of a slice that begins before the index ends the rest is taken, versions too")
{
    store s{3};
    for (int i = 0; i < 7; ++i) {
        s.add_some(30);
        s.flush();
        s->merge();
    }
    const auto whole = s->slice(position{0}, position{210});
    const auto later = s->slice(position{60}, position{150});
    for (const int end : {0, 1, 30, 60, 61, 64, 149, 150, 151, 209}) {
        index again{{.key = test_key}};
        again.add_slice(s->slice(position{0}, position{end}));
        if (end >= 60) again.add_slice(later);
        REQUIRE(again.checkpoint() == position{end < 60 ? end : std::max(end, 150)});
        again.add_slice(whole);
        REQUIRE(again.checkpoint() == position{210});
        REQUIRE(again.slice(position{0}, position{210}) == whole);
    }
}

TEST_CASE("a slice must not begin after the index's end, and go on where its streams are")
{
    store s;
    s.add_some(30);
    s.flush();
    const auto middle = s->slice(position{10}, position{20});
    index      again{{.key = test_key}};
    CHECK(code_of([&] { again.add_slice(middle); }) == errc::invalid_argument);
    CHECK(code_of([&] { s->slice(position{20}, position{31}); }) == errc::invalid_argument);
    CHECK(code_of([&] { s->slice(position{20}, position{10}); }) == errc::invalid_argument);

    again.add_slice(s->slice(position{0}, position{5}));
    again.set_end(position{10});  // the positions 5 … 9 are lost
    CHECK(code_of([&] { again.add_slice(middle); }) == errc::damaged_index);
    CHECK(again.end() == position{10});
}

TEST_CASE("a slice with any bit flipped is refused")
{
    store s;
    s.add_some(40);
    s.flush();
    auto slice = s->slice(position{3}, position{37});
    for (std::size_t bit = 0; bit < slice.size() * 8; bit += 7) {
        const auto mask = static_cast<char>(1 << bit % 8);
        slice[bit / 8]  = static_cast<char>(slice[bit / 8] ^ mask);
        index again{{.key = test_key}};
        again.set_end(position{3});
        REQUIRE(code_of([&] { again.add_slice(slice); }) == errc::damaged_index);
        slice[bit / 8] = static_cast<char>(slice[bit / 8] ^ mask);
    }
}

TEST_CASE("an empty slice is a slice")
{
    store s;
    s.add_some(5);
    s.flush();
    index again{{.key = test_key}};
    again.add_slice(s->slice(position{0}, position{0}));
    CHECK(again.end() == position{0});
}

// ---- Not a test. -------------------------------------------------------------------------

TEST_CASE("the fuzzer's seeds are made anew in the directory CAIRN_SEEDS", "[.]")
{
    const char* to = std::getenv("CAIRN_SEEDS");
    REQUIRE(to != nullptr);
    const auto write = [&](const std::string& name, const std::string& bytes) {
        write_file_atomically(std::string{to} + '/' + name, bytes);
    };
    store s;
    s.add("a", {"t"}, {"x"}, "c");
    s.flush();
    write("one_event", s->slice(position{0}, position{1}));
    write("empty", s->slice(position{0}, position{0}));
    s->set_end(position{9});
    s.flush();
    write("no_entries", s->slice(position{4}, position{9}));
    s.add_some(12);
    s.flush();
    write("a_few", s->slice(position{9}, position{21}));
    for (int i = 0; i < 150; ++i)
        s.add(i % 3 == 0 ? "a" : "b" + std::to_string(i), {"t"});
    s.flush();
    write("blocks_of_postings", s->slice(position{21}, position{171}));
    write("all", s->slice(position{0}, position{171}));
}

}  // namespace cairn::testing
