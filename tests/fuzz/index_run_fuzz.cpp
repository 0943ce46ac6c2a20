// SPDX-License-Identifier: Apache-2.0
//
// Bytes as a run of the index: taken in as a slice, and looked into as a file would be, of which
// only the header is checked on opening. Any answer will do, and so will a storage_error.
//
// Mutated bytes hardly ever check, so where the lengths fit all checks are made anew first; an
// input of odd size goes in as it is. Seeds: index_test's "the fuzzer's seeds", which is hidden.
#include "index/index.hpp"
#include "index/run.hpp"
#include "index/run_merge.hpp"
#include "index/run_query.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

namespace cairn::detail {
namespace {

constexpr hash_key key{0x0706050403020100, 0x0f0e0d0c0b0a0908};

template <class Item>
void mend_items(std::string& bytes, const run_layout& layout, const check_seed& seed, run_section s)
{
    for (std::uint64_t n = 0; n < layout[s].items; ++n) {
        char* const at = bytes.data() + layout[s].at + n * sizeof(Item);
        Item        item;
        std::memcpy(static_cast<void*>(&item), at, sizeof item);
        item.crc = check_of(item, seed(s, n));
        std::memcpy(at, &item.crc, sizeof item.crc);
    }
}

void mend_postings(std::string& bytes, const run_layout& layout, const check_seed& seed,
                   run_section s)
{
    for (std::uint64_t n = 0; n < layout[s].items; ++n) {
        char* const at    = bytes.data() + layout[s].at + n * posting_block_bytes;
        const auto  check = check_of_postings(at, seed(s, n));
        std::memcpy(at + posting_block_check_at, &check, sizeof check);
    }
}

/// Makes every check right; leaves bytes alone that cannot be a run.
void mend(std::string& bytes)
{
    run_header h;
    if (bytes.size() < sizeof h) return;
    std::memcpy(static_cast<void*>(&h), bytes.data(), sizeof h);
    constexpr std::uint64_t limit = 1 << 20;
    if (h.streams > limit || h.stream_postings > limit || h.terms > limit ||
        h.term_postings > limit || h.commands > limit)
        return;
    const run_layout layout{{h.streams, h.stream_postings, h.terms, h.term_postings, h.commands}};
    if (layout.bytes != bytes.size()) return;
    h.bytes     = bytes.size();
    h.key_check = term_hasher{key}.key_check();
    h.check     = check_of_header(h);
    std::memcpy(bytes.data(), &h, sizeof h);

    const check_seed seed{h.first, h.end};
    mend_items<stream_entry>(bytes, layout, seed, run_section::stream_entries);
    mend_items<term_entry>(bytes, layout, seed, run_section::term_entries);
    mend_items<command_entry>(bytes, layout, seed, run_section::command_entries);
    for (const auto s :
         {run_section::stream_blocks, run_section::term_blocks, run_section::command_blocks})
        mend_items<table_block>(bytes, layout, seed, s);
    for (const auto s : {run_section::stream_postings, run_section::term_postings})
        mend_postings(bytes, layout, seed, s);
}

template <class F>
void allow_damage(F&& f)
{
    try {
        f();
    } catch (const storage_error&) {
    }
}

template <class Entry>
void collect(const run_table<Entry>& t, std::set<term>& to)
{
    for (std::uint64_t i = 0; i < std::min<std::uint64_t>(t.size(), 64); ++i)
        to.insert(t.peek(i).hash);
}

/// What a lookup or a merge would do with a file of these bytes.
void look_into(const std::shared_ptr<const run>& r, const std::set<term>& terms)
{
    for (const auto& t : terms) {
        allow_damage([&] {
            stream_entry e;
            if (!r->streams().find(t, e)) return;
            stream_cursor c{*r};
            c.at(e, 0);
            c.at(e, e.count - 1);
            c.count_before(e, e.last / 2);
        });
        allow_damage([&] {
            command_entry e;
            r->commands().find(t, e);
        });
        const query_terms q{{{{t}, {}}, {{}, {t, *terms.begin()}}}};
        allow_damage([&] {
            run_query query{*r, q};
            auto      at = query.next(0);
            for (int n = 0; n < 100 && at; ++n)
                at = query.next(*at + 1);
        });
        allow_damage([&] {
            run_query query{*r, q};
            auto      at = query.previous(r->end().value);
            for (int n = 0; n < 100 && at; ++n)
                at = query.previous(*at - 1);
        });
    }
    allow_damage([&] {
        const merge_job job{{r}, r->first(), r->end()};
        const auto      counts = count_merged(job, {});
        memory_sink     sink{run_layout{counts}.bytes};
        run_writer      writer{sink, job.first, job.end, 0, counts};
        write_merged(job, writer, {});
    });
    allow_damage([&] {
        each_stream_head({r}, [](const term&, const stream_head&) { return true; });
    });
}

/// What passed add_slice() must not contradict itself any more.
void use(index& i, const std::set<term>& terms)
{
    for (const auto& t : terms) {
        const auto head = i.head(t);
        const auto all  = i.stream(t, version{0}, direction::forward, 1000);
        if (!all.empty() && all.back().version.value >= head.count) std::abort();
        if (head.count != 0 && i.stream(t, version{head.count - 1}, direction::backward, 1).empty())
            std::abort();
        const query_terms q{{{{}, {t}}}};
        const auto found = i.matches(q, position{0}, i.end(), direction::backward, 1);
        const auto last  = i.last_match(q, std::nullopt, i.end());
        if (last.has_value() != !found.empty() || (last && *last != found[0])) std::abort();
        i.command(t);
    }
    const auto middle = position{i.end().value / 2};
    i.slice(middle, i.end());
    index_entry next;
    next.position = i.end();
    next.stream   = terms.empty() ? term{1, 1} : *terms.begin();
    next.offset   = i.head(next.stream).last_offset.next();
    i.add(next);
    i.flush();
    i.merge();
}

}  // namespace
}  // namespace cairn::detail

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace cairn::detail;
    std::string bytes{reinterpret_cast<const char*>(data), size};
    if (size % 2 == 0) mend(bytes);

    std::set<term> terms;
    allow_damage([&] {
        const auto r = run::in_memory(bytes, "fuzz", term_hasher{key}.key_check());
        collect(r->streams(), terms);
        collect(r->terms(), terms);
        collect(r->commands(), terms);
        look_into(r, terms);
    });

    class index i{{.directory = "", .key = key, .merge_fan_in = 2}};
    bool        taken = false;
    allow_damage([&] {
        run_header h;
        if (bytes.size() >= sizeof h) {
            std::memcpy(static_cast<void*>(&h), bytes.data(), sizeof h);
            // Not so far that bridging the hole would take thousands of runs.
            if (h.first > 0 && h.first < std::int64_t{1} << 40) i.set_end(cairn::position{h.first});
        }
        try {
            i.add_slice(bytes);
            taken = true;
        } catch (const cairn::error& e) {
            if (e.code() != cairn::errc::invalid_argument) throw;
        }
    });
    if (taken) use(i, terms);
    return 0;
}
