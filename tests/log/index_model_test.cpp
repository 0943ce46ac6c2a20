// SPDX-License-Identifier: Apache-2.0
//
// The index against a plain list: random operations, after each of which all that can be asked
// must get the same answer.
#include "index_fixture.hpp"

#include "main/seed.hpp"

#include <catch2/catch.hpp>

#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

namespace cairn::testing {
namespace {

class model_run
{
public:
    model_run(std::uint64_t seed, bool on_disk) : random_{seed}, on_disk_{on_disk}
    {
        fan_in_ = pick(2, 4);
        hints_.resize(streams);
        for (int i = 0; i < queries; ++i)
            asked_.push_back({random_query(), {}, {}});
        open();
    }

    void step()
    {
        switch (pick(0, 14)) {
        case 0:
            index_->flush();
            break;
        case 1:
            while (index_->merge()) {
            }
            break;
        case 2:
            reopen();
            break;
        case 3:
            rebuild_from_slices();
            break;
        case 4:
            if (pick(0, 3) == 0) leave_hole();
            break;
        case 5:
        case 6:
            add_batch();
            break;
        case 7:
        case 8:
            add_one();
            break;
        case 9:
        case 10:
            check_stream();
            break;
        case 11:
            check_last_match();
            break;
        case 12:
            check_matches();
            break;
        case 13:
            check_command();
            break;
        case 14:
            check_heads();
            break;
        }
    }

    void check_all()
    {
        REQUIRE(index_->end() == model_.end);
        std::map<term, stream_head> seen;
        index_->each_stream([&](term t, const stream_head& h) {
            REQUIRE(seen.emplace(t, h).second);
            return true;
        });
        REQUIRE(seen == model_.heads());
        for (int i = 0; i < streams; ++i)
            check_stream();
        for (int i = 0; i < queries; ++i) {
            check_last_match();
            check_matches();
        }
        index_->verify([](const std::string& fault) { FAIL(fault); });
    }

private:
    static constexpr int streams  = 12;
    static constexpr int types    = 4;
    static constexpr int tags     = 9;
    static constexpr int commands = 12;
    static constexpr int queries  = 6;

    struct asked
    {
        query_terms                          query;
        std::optional<position>              after;
        lookup_hint<std::optional<position>> hint;
    };

    std::int64_t pick(std::int64_t low, std::int64_t high)
    {
        return std::uniform_int_distribution<std::int64_t>{low, high}(random_);
    }
    /// Small numbers far more often than large ones.
    std::int64_t pick_low(std::int64_t n) { return pick(0, pick(0, pick(0, n - 1))); }

    term stream_term(std::int64_t i) const
    {
        return hasher_.stream(static_cast<std::uint32_t>(i % 3), "s" + std::to_string(i));
    }
    term type_term(std::int64_t i) const { return hasher_.type("t" + std::to_string(i)); }
    term tag_term(std::int64_t i) const { return hasher_.tag("t" + std::to_string(i)); }
    term command_term(std::int64_t i) const { return hasher_.command("c" + std::to_string(i)); }

    void open()
    {
        index::options o;
        if (on_disk_) o.directory = directory_ / "index";
        o.key          = test_key;
        o.merge_fan_in = static_cast<std::size_t>(fan_in_);
        index_.reset();
        index_ = std::make_unique<index>(o, [](const std::string& what) { FAIL(what); });
    }

    void reopen()
    {
        if (!on_disk_) return;
        const auto checkpoint = index_->checkpoint();
        open();
        REQUIRE(index_->checkpoint() == checkpoint);
        REQUIRE(index_->end() == checkpoint);
        add_again();
    }

    /// What the journal and the segments would bring back: the records that are not there.
    void add_again()
    {
        std::vector<index_entry> entries;
        std::vector<version>     expected;
        std::map<term, std::int64_t> versions;
        for (const auto& r : model_.records) {
            const version v{r.stream ? versions[r.stream]++ : -1};
            if (r.position < index_->end()) continue;
            entries.push_back(r.entry());
            expected.push_back(v);
        }
        std::vector<version> got(entries.size());
        index_->add(entries, got);
        REQUIRE(got == expected);
        index_->set_end(model_.end);
        REQUIRE(index_->end() == model_.end);
    }

    void rebuild_from_slices()
    {
        std::vector<std::string> slices;
        position                 at{0};
        while (at < index_->checkpoint() && pick(0, 9) != 0) {
            const auto end = at + pick(1, index_->checkpoint() - at);
            slices.push_back(index_->slice(at, end));
            REQUIRE(slices.back() == index_->slice(at, end));
            at = end;
        }
        if (on_disk_) {
            index_.reset();
            std::filesystem::remove_all(directory_ / "index");
        }
        open();
        hints_.assign(streams, {});  // they were the other index's
        for (auto& a : asked_)
            a.hint = {};
        for (const auto& s : slices)
            index_->add_slice(s);
        REQUIRE(index_->checkpoint() == at);
        add_again();
    }

    indexed_record random_record()
    {
        indexed_record r;
        r.position = model_.end;
        r.at       = static_cast<std::uint32_t>(pick(0, 1 << 20));
        r.check    = static_cast<std::uint32_t>(random_());
        if (const auto s = pick_low(streams + 2); s < streams) {
            r.stream        = stream_term(s);
            r.partition_uid = static_cast<std::uint32_t>(s % 3);
            r.offset        = offset{r.position.value + offset_base_};
        }
        if (pick(0, 3) != 0) r.terms.push_back(type_term(pick_low(types)));
        for (auto n = pick_low(4); n > 0; --n) {
            const auto t = tag_term(pick_low(tags));
            if (!r.has(t)) r.terms.push_back(t);
        }
        return r;
    }

    void add_one()
    {
        auto r = random_record();
        if (pick(0, 2) == 0) r.command = command_term(pick(0, commands - 1));
        auto e = r.entry();
        if (r.stream && pick(0, 1) == 0) {
            const auto head = index_->head(r.stream);
            REQUIRE(head == model_.head(r.stream));
            e.version = version{head.count};
        }
        REQUIRE(index_->add(e) == model_.add(r));
    }

    void check_heads()
    {
        std::vector<head_request> requests;
        for (int i = 0; i < streams; ++i) {
            const auto n = pick(0, streams);  // the last is not there
            requests.push_back({stream_term(n), nullptr, {}});
            if (n < streams && pick(0, 1) == 0)
                requests.back().hint = &hints_[static_cast<std::size_t>(n)];
        }
        index_->heads(requests);
        for (const auto& r : requests)
            REQUIRE(r.head == model_.head(r.stream));
    }

    void add_batch()
    {
        std::vector<indexed_record> batch;
        std::vector<version>        expected;
        const auto command = pick(0, 1) == 0 ? command_term(pick(0, commands - 1)) : term{};
        for (auto n = pick(1, 12); n > 0; --n) {
            batch.push_back(random_record());
            batch.back().command = command;
            expected.push_back(model_.add(batch.back()));
        }
        std::vector<index_entry> entries;
        for (const auto& r : batch)
            entries.push_back(r.entry());
        std::vector<version> got(entries.size());
        index_->add(entries, got);
        REQUIRE(got == expected);
    }

    void leave_hole()
    {
        model_.end += pick(1, 20);
        if (pick(0, 1) == 0)
            index_->set_end(model_.end);
        else
            add_one();  // its position tells
    }

    void check_stream()
    {
        const auto i = pick(0, streams - 1);
        const auto t = stream_term(i);
        const auto h = model_.head(t);
        REQUIRE(index_->head(t) == h);
        REQUIRE(index_->head(t, &hints_[static_cast<std::size_t>(i)]) == h);
        const version from{pick(-1, h.count + 1)};
        const auto    max = static_cast<std::size_t>(pick(0, h.count + 2));
        for (const auto d : {direction::forward, direction::backward})
            REQUIRE(index_->stream(t, from, d, max) == model_.stream(t, from, d, max));
    }

    query_terms random_query()
    {
        query_terms q;
        for (auto n = pick(0, 3); n > 0; --n) {
            auto& i = q.items.emplace_back();
            for (auto k = pick(0, 2); k > 0; --k)
                i.types.push_back(type_term(pick_low(types + 1)));
            for (auto k = pick(0, 2); k > 0; --k)
                i.tags.push_back(tag_term(pick_low(tags + 1)));
            if (i.types.empty() && i.tags.empty() && pick(0, 3) != 0) q.items.pop_back();
        }
        return q;
    }

    void check_last_match()
    {
        auto& a = asked_[static_cast<std::size_t>(pick(0, queries - 1))];
        if (pick(0, 3) == 0) {  // only ever larger
            const position p{pick(a.after ? a.after->value : 0, model_.end.value + 1)};
            a.after = p;
        }
        const auto expected = model_.last_match(a.query, a.after, model_.end);
        REQUIRE(index_->last_match(a.query, a.after, model_.end) == expected);
        REQUIRE(index_->last_match(a.query, a.after, model_.end, &a.hint) == expected);

        const auto                    q = random_query();
        std::optional<position> after;
        if (pick(0, 1) == 0) after = position{pick(0, model_.end.value)};
        const position before{pick(0, model_.end.value + 2)};
        REQUIRE(index_->last_match(q, after, before) == model_.last_match(q, after, before));
    }

    void check_matches()
    {
        const auto     q = random_query();
        const position from{pick(-1, model_.end.value)};
        const position before{pick(from.value, model_.end.value + 2)};
        const auto     max = pick(0, 2) == 0 ? no_limit : static_cast<std::size_t>(pick(0, 9));
        for (const auto d : {direction::forward, direction::backward})
            REQUIRE(index_->matches(q, from, before, d, max) ==
                    model_.matches(q, from, before, d, max));
    }

    void check_command()
    {
        const auto id = command_term(pick(0, commands));
        REQUIRE(index_->command(id) == model_.command(id));
    }

    std::mt19937_64                       random_;
    bool                                  on_disk_;
    std::int64_t                          fan_in_ = 2;
    std::int64_t                          offset_base_ = 1000;
    term_hasher                           hasher_{test_key};
    temporary_directory                   directory_{place::disk};
    index_model                           model_;
    std::unique_ptr<index>                index_;
    std::vector<lookup_hint<stream_head>> hints_;
    std::vector<asked>                    asked_;
};

/// CAIRN_RUNS lengthens a test; of a seed that is given there is one run.
std::uint64_t how_many(std::uint64_t usual)
{
    const char* const asked = std::getenv("CAIRN_RUNS");
    return asked != nullptr ? std::stoull(asked) : given_seed() ? 1 : usual;
}

void run_model(bool on_disk, std::uint64_t runs, int steps)
{
    runs = how_many(runs);
    for (std::uint64_t n = 0; n < runs; ++n) {
        INFO("CAIRN_SEED=" << seed() + n << " repeats this");
        model_run m{seed() + n, on_disk};
        for (int i = 0; i < steps; ++i)
            m.step();
        m.check_all();
    }
    std::cout << runs << " runs from seed " << seed() << '\n';
}

}  // namespace

TEST_CASE("whatever is done to the index, it answers as a plain list does")
{
    SECTION("in memory") { run_model(false, 2000, 50); }
    SECTION("on disk") { run_model(true, 50, 120); }
}

}  // namespace cairn::testing
