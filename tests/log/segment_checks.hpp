// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <catch2/catch.hpp>

#include "main/seed.hpp"
#include "segment_fixture.hpp"

#include <set>

namespace segment_test {

using cairn::testing::seed;

constexpr read_limits everything{std::size_t{1} << 40, std::size_t{1} << 40};

// A store of either kind, and what the tests say about it.
class any_store
{
public:
    explicit any_store(const std::string& kind) : kind_{kind} { open(); }

    bool on_disk() const { return kind_ == "on disk"; }

    void open()
    {
        store_.reset();  // one process has a directory open once
        store_ =
            on_disk() ? make_lmdb_store({.directory = directory_.path()}) : make_memory_store();
    }

    segment_store*     operator->() { return store_.get(); }
    const std::string& directory() const { return directory_.path(); }

    std::shared_ptr<segment> begin(position first = {}, std::uint64_t map_bytes = 256 << 20)
    {
        auto s = store_->prepare(map_bytes);
        store_->publish(s, first, {});
        return s;
    }

    std::set<std::string> files() const
    {
        std::set<std::string> names;
        for (const auto& f : std::filesystem::directory_iterator{directory_.path()})
            names.insert(f.path().filename().string());
        return names;
    }

private:
    std::string                    kind_;
    temporary_directory            directory_{place::disk};
    std::unique_ptr<segment_store> store_;
};

inline void append(segment& s, const std::vector<placed_batch>& batches)
{
    s.append(batches, batches.back().end_position());
}

inline void append(segment& s, const placed_batch& b)
{
    append(s, std::vector{b});
}

inline void check_same(const std::vector<placed_batch>& found,
                       const std::vector<placed_batch>& wanted)
{
    REQUIRE(found.size() == wanted.size());
    for (std::size_t i = 0; i < found.size(); ++i)  // an assertion for each would take longer
        if (!same(found[i], wanted[i]) || found[i].owner == nullptr)
            FAIL("batch " << i << " is not the one at position " << wanted[i].position);
}

inline std::vector<placed_batch> all_of(const segment& s)
{
    std::vector<placed_batch> out;
    s.read_all(position{0}, everything, out);
    return out;
}

}  // namespace segment_test
