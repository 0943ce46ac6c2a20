// SPDX-License-Identifier: Apache-2.0
//
// The journal after a power cut, in every state that the disk may be left in: each acknowledged
// group is there, nothing is there that was refused or never written, and writing goes on.
//
// Compiled twice: with CAIRN_ACKNOWLEDGE_BEFORE_FLUSH the journal acknowledges too early, and
// this must be found. A test that finds nothing there would prove nothing.
#include "crash/enumerate.hpp"
#include "crash/faults.hpp"
#include "crash/recorder.hpp"
#include "file.hpp"
#include "journal/journal.hpp"
#include "main/temporary_directory.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

using namespace cairn;
using namespace cairn::detail;
using namespace cairn::testing;

namespace {

#ifdef CAIRN_ACKNOWLEDGE_BEFORE_FLUSH
constexpr bool acknowledges_too_early = true;
#else
constexpr bool acknowledges_too_early = false;
#endif

/// What was promised at a mark, whose value is the step's place in the list.
struct step
{
    std::int64_t end     = 0;   // acknowledged: all below
    std::string  refused = {};  // or: this payload is nowhere
    std::int64_t first   = -1;  // where it would be
};

struct group
{
    std::int64_t end = 0;
    std::string  payload;
};

/// All that a run wrote: what may be found after a cut, and what must.
struct history
{
    std::vector<step>                  steps;
    std::multimap<std::int64_t, group> groups;  // by first position; refused ones too
};

std::int64_t positions_of(bytes_view payload)
{
    return payload.empty() ? 1 : static_cast<unsigned char>(payload.front()) % 5 + 1;
}

std::string random_payload(std::mt19937_64& random)
{
    // Mostly small; some have sectors of zeros, which look as if they had not been written.
    const auto  sectors = random() % 8 == 0 ? 12 : random() % 5;
    std::string s(sectors * 504 + random() % 504, '\0');
    const bool  zeros = random() % 4 == 0;
    for (std::size_t i = 0; i < s.size(); ++i)
        if (!zeros || i % 1'200 < 300) s[i] = static_cast<char>(random());
    return s;
}

journal_options options_in(const std::string& directory)
{
    return {.directory = directory + "/journal", .file_bytes = 24 * 512, .files = 3};
}

/// The position up to which all is merged: the segments' part, played by a small file.
std::int64_t merged_in(const std::string& directory)
{
    const auto text = try_read_file(directory + "/merged");
    return text ? std::stoll(*text) : 0;
}

/// Something that writes a journal as the engine does, and is recorded at it.
class run
{
public:
    run(std::string directory, std::uint64_t seed, history& h)
        : directory_{std::move(directory)}, random_{seed}, history_{h}
    {
    }

    void recover()
    {
        journal_ = std::make_unique<journal>(options_in(directory_));
        merged_  = merged_in(directory_);
        next_    = merged_;
        journal_->recover(position{merged_}, [&](position first, bytes_view payload) {
            next_ = first.value + positions_of(payload);
            return positions_of(payload);
        });
    }

    void close() { journal_.reset(); }

    void go(recorder& r, int groups)
    {
        for (int i = 0; i < groups; ++i) {
            switch (random_() % 8) {
            case 0:
            case 1:
                merge();
                break;
            case 2:
                journal_->prepare();
                break;
            case 3:
                refuse(r);
                break;
            case 4:
                if (random_() % 4 == 0) fail_a_flush(r);
                break;
            default:
                break;
            }
            append(r);
        }
    }

    void merge()
    {
        merged_ = std::max(merged_, next_ - static_cast<std::int64_t>(random_() % 3));
        write_file_atomically(directory_ + "/merged", std::to_string(merged_));
        journal_->release(position{merged_});
    }

private:
    void append(recorder& r)
    {
        write(random_payload(random_));
        promise(r, {.end = next_});
    }

    void write(const std::string& payload)
    {
        const auto end = next_ + positions_of(payload);
        if (journal_->statistics().files == 3) merge_all();  // or it would wait for ever
        history_.groups.insert({next_, {end, payload}});
        const bytes_view piece{payload};
        journal_->write(position{next_}, {&piece, 1}, position{end});
        next_ = end;
    }

    // What recovery then finds is in the cache, perhaps not on the disk; what it reports is
    // given to readers, so from then on it must stay.
    void fail_a_flush(recorder& r)
    {
        if (journal_->statistics().files == 3) merge_all();
        {
            const fault_injection fault{{.where = fault::call::sync, .path = ".jnl"}};
            try {
                write(random_payload(random_));
                FAIL("a failed flush was acknowledged");
            } catch (const storage_error& e) {
                REQUIRE(e.code() == errc::io_failed);
            }
        }
        close();
        recover();
        promise(r, {.end = next_});
    }

    void merge_all()
    {
        merged_ = next_;
        write_file_atomically(directory_ + "/merged", std::to_string(merged_));
        journal_->release(position{merged_});
    }

    void refuse(recorder& r)
    {
        auto payload = random_payload(random_);
        payload += "refused" + std::to_string(random_());
        const fault_injection fault{
            {.where = fault::call::write,
             .error = ENOSPC,
             .how   = random_() % 2 == 0 ? fault::way::torn : fault::way::fail,
             .nth   = 1,
             .path  = ".jnl"}};
        try {
            write(payload);
            promise(r, {.end = next_});
        } catch (const storage_error& e) {
            REQUIRE(e.code() == errc::disk_full);
            promise(r, {.refused = payload, .first = next_});
        }
    }

    void promise(recorder& r, step s)
    {
        r.mark(static_cast<std::int64_t>(history_.steps.size()));
        history_.steps.push_back(std::move(s));
    }

    std::string              directory_;
    std::mt19937_64          random_;
    history&                 history_;
    std::unique_ptr<journal> journal_;
    std::int64_t             next_   = 0;
    std::int64_t             merged_ = 0;
};

/// Recovers, and says how many of the history's promises hold. Then it must be possible to go
/// on: to write, and to find all of it again.
verdict check(const history& h, const std::string& directory)
{
    std::map<std::int64_t, group> found;
    const auto                    merged = merged_in(directory);
    std::int64_t                  end    = merged;
    const auto                    read   = [&](journal& j) {
        std::string problem;
        found.clear();
        end = merged;
        j.recover(position{merged}, [&](position first, bytes_view payload) {
            const auto count      = positions_of(payload);
            const auto [from, to] = h.groups.equal_range(first.value);
            if (std::none_of(from, to, [&](const auto& g) { return g.second.payload == payload; }))
                problem = "a group at " + std::to_string(first.value) + " that never was";
            found[first.value] = {first.value + count, std::string{payload}};
            end                = first.value + count;
            return count;
        });
        return problem;
    };

    verdict      v{.reached = -1};
    std::int64_t released = merged;
    {
        journal j{options_in(directory)};
        v.problem = read(j);
        for (const auto& s : h.steps) {
            const auto at = found.find(s.first);
            if (s.first < 0 ? end < s.end : at != found.end() && at->second.payload == s.refused)
                break;
            ++v.reached;
        }
        if (!v.problem.empty()) return v;

        if (j.statistics().files == 3) {  // as after a merge of all that there is
            released = end;
            j.release(position{end});
        }
        const bytes_view payload = "after the cut";
        j.write(position{end}, {&payload, 1}, position{end} + positions_of(payload));
    }
    journal     j{options_in(directory)};
    std::string last;
    j.recover(position{released}, [&](position, bytes_view payload) {
        last = payload;
        return positions_of(payload);
    });
    if (last != "after the cut")
        v.problem = "what was written after recovery to " + std::to_string(end) + " is not there";
    return v;
}

void judge(const enumeration& e)
{
    std::cout << (acknowledges_too_early ? "acknowledging too early: " : "") << e << std::endl;
    if (acknowledges_too_early) {
        CHECK(e.lost > 0);
        return;
    }
    INFO(e);
    CHECK(e.failed() == 0);
}

}  // namespace

TEST_CASE("after a power cut all acknowledged groups are there, whole and in order, and no other")
{
    auto o = from_environment({.seed = 1, .states = 10'000});
    INFO("seed " << o.seed);
    temporary_directory d;
    make_directory(d / "journal");
    history  h;
    recorder r{d.path()};
    run      program{d.path(), o.seed, h};
    // A longer run for more states: a group has only so many ways to be torn.
    const int groups = static_cast<int>(o.states / 12) + 20;
    for (int part = 0; part < 3; ++part) {
        program.recover();
        program.go(r, groups / 3);
        if (part == 1) program.merge();
        program.close();
    }
    const auto tape = r.stop();

    const auto e = enumerate(tape, o, [&](const std::string& image) { return check(h, image); });
    judge(e);
    CHECK(e.states >= o.states / 10 * 9);
}

TEST_CASE("a second power cut, during or after the recovery from the first, loses nothing either")
{
    auto o = from_environment({.seed = 2, .states = 6'000});
    INFO("seed " << o.seed);
    temporary_directory d;
    make_directory(d / "journal");
    history   h;
    recording first;
    {
        recorder r{d.path()};
        run      program{d.path(), o.seed, h};
        program.recover();
        program.go(r, 40);
        program.close();
        first = r.stop();
    }

    const std::size_t cuts = 20 + o.states / 1'000;
    std::mt19937_64   random{o.seed};
    enumeration       all;
    const auto        states = std::max<std::size_t>(o.states / cuts, 1);
    for (std::size_t i = 0; i < cuts; ++i) {
        const auto          at = random() % first.operations.size();
        temporary_directory image;
        make_image(first, at, random(), image.path());
        if (!file_exists(image / "journal")) make_directory(image / "journal");

        // What had been promised at the cut, and all that had been written so far, is the
        // beginning of another history.
        history second;
        second.groups = h.groups;
        for (std::size_t n = 0; n < at; ++n)
            if (first.operations[n].what == operation::kind::mark)
                second.steps.push_back(
                    h.steps[static_cast<std::size_t>(first.operations[n].value)]);
        recorder r{image.path()};
        r.mark(static_cast<std::int64_t>(second.steps.size()) - 1);
        run program{image.path(), random(), second};
        program.recover();
        program.go(r, 12);
        program.close();
        const auto tape = r.stop();

        o.states = states;
        const auto e =
            enumerate(tape, o, [&](const std::string& path) { return check(second, path); });
        all.states += e.states;
        all.operations += e.operations;
        all.writes += e.writes;
        all.syncs += e.syncs;
        all.lost += e.lost;
        all.corrupt += e.corrupt;
        all.signals += e.signals;
        all.hangs += e.hangs;
        all.seconds += e.seconds;
        all.failures.insert(all.failures.end(), e.failures.begin(), e.failures.end());
        if (e.failed() != 0) break;
    }
    judge(all);
    if (all.failed() == 0) CHECK(all.states >= cuts * states / 10 * 9);  // else it stops early
}
