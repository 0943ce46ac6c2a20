// SPDX-License-Identifier: Apache-2.0
//
// Bits flipped in the files of an index, and files cut short: a lookup gives the right answer
// or a storage_error, never a wrong answer.
#include "index_fixture.hpp"

#include "file.hpp"
#include "main/seed.hpp"

#include <catch2/catch.hpp>

#include <iostream>
#include <memory>
#include <random>
#include <utility>
#include <variant>
#include <vector>

namespace cairn::testing {
namespace {

/// An index of a few runs of every shape, and every question it can be asked.
class damaged_store
{
public:
    damaged_store()
    {
        index i{options(false)};
        for (std::int64_t n = 0; n < 240; ++n) {
            indexed_record r;
            r.position = position{n};
            r.offset   = offset{n + 3};
            r.at       = static_cast<std::uint32_t>(n * 11);
            r.check    = static_cast<std::uint32_t>(n * n);
            // Streams of one event, of a few, and of more than fill a block of postings.
            const auto s = n % 3 == 0 ? n : n % 3 == 1 ? n % 6 : 1000;
            r.stream     = hasher_.stream(1, std::to_string(s));
            if (n % 5 != 0) r.command = hasher_.command(std::to_string(n / 5));
            r.terms.push_back(hasher_.type(n % 4 == 0 ? "A" : "B"));
            r.terms.push_back(hasher_.tag(std::to_string(n % 20)));
            if (n % 2 == 0) r.terms.push_back(hasher_.tag("even"));
            i.add(r.entry());
            model_.add(std::move(r));
            if (n == 169 || n == 209) i.flush();
        }
        i.flush();
        answers_ = ask_all(i);
    }

    std::string path() const { return directory_ / "index"; }

    enum class outcome
    {
        right,
        reported,
        wrong,
    };

    /// Opens what is there and asks everything. Each answer is to be right or a storage_error.
    outcome ask() const
    {
        bool  reported = false;
        index i{options(true), [&](const std::string&) { reported = true; }};
        if (reported) return outcome::reported;
        const auto got = ask_all(i);
        for (std::size_t q = 0; q < got.size(); ++q) {
            if (std::holds_alternative<failed>(got[q]))
                reported = true;
            else if (got[q] != answers_[q])
                return outcome::wrong;
        }
        return reported ? outcome::reported : outcome::right;
    }

    /// Whether verify() finds a fault.
    bool verify_finds() const
    {
        bool  found = false;
        index i{options(true), [&](const std::string&) { found = true; }};
        i.verify([&](const std::string&) { found = true; });
        return found;
    }

private:
    struct failed
    {
        friend bool operator==(const failed&, const failed&) = default;
    };
    using answer = std::variant<failed, stream_head, std::vector<stream_posting>,
                                std::optional<position>, std::vector<position>,
                                std::optional<command_found>, std::string>;

    index::options options(bool read_only) const
    {
        return {.directory = path(), .key = test_key, .read_only = read_only};
    }

    template <class Ask>
    static void put(std::vector<answer>& to, Ask&& ask)
    {
        try {
            to.emplace_back(ask());
        } catch (const storage_error& e) {
            REQUIRE(e.code() == errc::damaged_index);
            to.emplace_back(failed{});
        }
    }

    std::vector<answer> ask_all(const index& i) const
    {
        std::vector<answer> all;
        std::vector<term>   streams{hasher_.stream(1, "none"), hasher_.stream(2, "1000")};
        for (const auto& [t, h] : model_.heads())
            streams.push_back(t);
        for (const auto& t : streams) {
            put(all, [&] { return i.head(t); });
            put(all, [&] { return i.stream(t, version{0}, direction::forward, no_limit); });
        }
        std::vector<query_terms> queries;
        for (int n = 0; n < 21; ++n) {
            const auto tag = hasher_.tag(std::to_string(n));
            queries.push_back({{{{}, {tag}}}});
            if (n % 8 == 0) queries.push_back({{{{hasher_.type("A")}, {tag}}}});
        }
        queries.push_back({{{{hasher_.type("A"), hasher_.type("B")}, {}}}});
        queries.push_back({{{{hasher_.type("B")}, {hasher_.tag("even")}}}});
        queries.push_back({{{{hasher_.type("none")}, {}}}});
        for (const auto& q : queries) {
            put(all, [&] { return i.last_match(q, std::nullopt, i.end()); });
            put(all, [&] {
                return i.matches(q, position{0}, i.end(), direction::forward, no_limit);
            });
        }
        for (int n = 0; n < 50; ++n)
            put(all, [&] { return i.command(hasher_.command(std::to_string(n))); });
        // Reads everything, as a merge does: damage must not be copied and given a good check.
        put(all, [&] { return i.slice(position{0}, i.end()); });
        put(all, [&] { return i.slice(position{10}, position{220}); });
        return all;
    }

    temporary_directory directory_{place::disk};
    term_hasher         hasher_{test_key};
    index_model         model_;
    std::vector<answer> answers_;
};

/// Changes a file and puts back what was there.
class tampered
{
public:
    tampered(std::string path, const std::string& good, const std::string& bad)
        : path_{std::move(path)}, good_{good}
    {
        put(bad);
    }
    ~tampered() { put(good_); }
    tampered(const tampered&)            = delete;
    tampered& operator=(const tampered&) = delete;

private:
    void put(const std::string& bytes)
    {
        file f{path_, file::access::write};
        f.write_at(0, bytes);
        f.truncate(bytes.size());
    }

    std::string        path_;
    const std::string& good_;
};

/// The files of a directory, by path.
std::vector<std::pair<std::string, std::string>> files_of(const std::string& directory)
{
    std::vector<std::pair<std::string, std::string>> all;
    for (const auto& name : list_directory(directory))
        all.emplace_back(directory + '/' + name, read_file(directory + '/' + name));
    return all;
}

}  // namespace

TEST_CASE("a damaged run is reported, never believed")
{
    const damaged_store s;
    REQUIRE(s.ask() == damaged_store::outcome::right);

    constexpr int   flips = 3'200;
    std::mt19937_64 random{seed()};
    const auto      files    = files_of(s.path());
    int             right    = 0;
    int             reported = 0;
    int             unseen   = 0;
    for (int n = 0; n < flips; ++n) {
        const auto& [path, bytes] = files[random() % files.size()];
        const auto bit            = random() % (bytes.size() * 8);
        auto       bad            = bytes;
        bad[bit / 8]              = static_cast<char>(bad[bit / 8] ^ 1 << bit % 8);
        const tampered t{path, bytes, bad};
        INFO(path << ", bit " << bit);
        const auto outcome = s.ask();
        REQUIRE(outcome != damaged_store::outcome::wrong);
        ++(outcome == damaged_store::outcome::right ? right : reported);
        if (n % 4 == 0 && !s.verify_finds()) ++unseen;
    }
    std::cout << flips << " bits flipped: " << reported << " reported, " << right
              << " between the sections, 0 silently wrong; verify missed " << unseen << '\n';
    CHECK(unseen == 0);
    CHECK(reported > flips / 2);
}

TEST_CASE("a run that was cut short is reported, never believed")
{
    const damaged_store s;
    std::mt19937_64     random{seed()};
    const auto          files = files_of(s.path());
    int                 cuts  = 0;
    for (int n = 0; n < 400; ++n) {
        const auto& [path, bytes] = files[random() % files.size()];
        const auto size = n < 40 ? bytes.size() - 1 - static_cast<std::size_t>(n) * 16
                                  : random() % bytes.size();
        const tampered t{path, bytes, bytes.substr(0, size)};
        INFO(path << " cut to " << size << " bytes");
        REQUIRE(s.ask() == damaged_store::outcome::reported);
        ++cuts;
    }
    std::cout << cuts << " files cut short, all reported\n";
}

TEST_CASE("a block that lies where another should is reported, never believed")
{
    const damaged_store s;
    for (const auto& [path, bytes] : files_of(s.path())) {
        for (std::size_t from = 0; from + 512 <= bytes.size(); from += 512) {
            for (const std::size_t to : {from + 512, from + 1024}) {
                if (to + 512 > bytes.size()) continue;
                auto bad = bytes;
                bad.replace(to, 512, bytes, from, 512);
                if (bad == bytes) continue;
                const tampered t{path, bytes, bad};
                INFO(path << ", sector " << from / 512 << " written to " << to / 512);
                REQUIRE(s.ask() == damaged_store::outcome::reported);
                REQUIRE(s.verify_finds());
            }
        }
    }
}

}  // namespace cairn::testing
