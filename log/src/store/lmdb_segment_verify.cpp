// SPDX-License-Identifier: Apache-2.0
//
// Verifying reads everything in the order in which it lies there, and each of it also as a search
// would come to it: damage to an inner page of a tree leads only searches astray.
#include "store/lmdb_segment.hpp"

#include <functional>
#include <limits>
#include <map>
#include <optional>

namespace cairn::detail {

using lmdb::reading;

namespace {

class verifier
{
public:
    using callback = std::function<void(std::uint32_t uid, offset at, const std::string& what)>;

    verifier(const lmdb::environment& e, const callback& fault)
        : path_{e.path()}, in_order_{e}, by_search_{e}, fault_{fault}
    {
    }

    void run()
    {
        // Without its own numbers there is nothing to compare with; the batches are read anyway.
        guarded([&] { contents_ = load_contents(in_order_); });
        guarded([&] { runs(); });
        guarded([&] { partitions(); });
        guarded([&] { commits(); });
    }

    template <class F>
    void guarded(const F& f)
    {
        try {
            f();
        } catch (const damaged_batch& d) {
            fault_(d.partition_uid(), d.at(), d.what());
        } catch (const storage_error& s) {
            fault_(0, nowhere, s.what());
        }
    }

private:
    void fault(std::uint32_t uid, offset at, const char* what)
    {
        fault_(uid, at, path_ + ": " + what);
    }

    void runs()
    {
        std::optional<std::uint32_t> uid;
        bytes_view                   key, value;
        for (bool more = in_order_.move(batches_db, MDB_FIRST, key, value); more;
             more      = in_order_.move(batches_db, MDB_NEXT, key, value)) {
            const auto run = run_view::parse(key, value);
            if (!run) {
                fault(0, nowhere, "what is stored is not a run of batches");
                continue;
            }
            if (uid != run->uid()) previous_ = -1;
            uid = run->uid();
            batches_of(*run);
            guarded([&] { search(*run); });
        }
    }

    void batches_of(const run_view& run)
    {
        const auto uid = run.uid();
        if (!run.check_holds()) fault(uid, run.base(), "the directory of a run is damaged");
        timestamp top{std::numeric_limits<std::int64_t>::min()};
        for (std::uint32_t i = 0; i < run.count(); ++i) {
            ++batches_;
            const auto b = run.batch(i);
            if (!b) {
                fault(uid, run.about(i), "a batch is not the one that was written here");
                continue;
            }
            if (!crc_holds(b->bytes)) fault(uid, b->base, "a batch's CRC does not hold");
            if (b->previous_offset != previous_)
                fault(uid, b->base, "the batch before it is missing");
            if (run.floor(b->base) != i) fault(uid, b->base, "a search does not find the batch");
            previous_ = b->end_offset().value;
            top       = std::max(top, b->max_timestamp);
            extend(seen_[uid], {b->base, b->offsets, b->base_timestamp, b->max_timestamp},
                   b->bytes.size());
        }
        if (top != run.max_timestamp()) fault(uid, run.base(), "a run's max timestamp is wrong");
    }

    void search(const run_view& run)
    {
        partition_walk walk{by_search_, run.uid()};
        for (const auto i : {0u, run.count() - 1})
            if (!walk.floor(run.about(i)) || walk.run().base() != run.base() || walk.index() != i)
                fault(run.uid(), run.about(i), "a search does not find the batch");
    }

    void partitions()
    {
        if (!contents_) return;
        for (const auto& [uid, s] : seen_)
            if (contents_->partitions.find(uid) == nullptr)
                fault(uid, s.first, "batches of a partition that is not there");
        for (const auto& [uid, s] : contents_->partitions) {
            const auto at = seen_.find(uid);
            if (at == seen_.end() ||
                bytes_view{encode(uid, s)} != bytes_view{encode(uid, at->second)})
                fault(uid, s.first, "the partition's record and its batches differ");
        }
    }

    void commits()
    {
        position_walk walk{in_order_, 1024};
        std::int64_t  previous = -1;
        std::uint64_t listed   = 0;
        for (bool more = walk.first(); more; more = walk.next()) {
            ++listed;
            guarded([&] {
                const auto b = walk.batch();
                if (b.previous_position != previous)
                    fault(walk.run().uid(), b.base, "the batch at the position before is missing");
                previous = b.end_position().value;
            });
            const auto& block = walk.block();
            const auto  i     = walk.index();
            if (block.floor(block.at(i)) != i)
                fault(0, nowhere, "a search does not find a position");
            if (i == 0) guarded([&] { search(block); });
        }
        const auto& s = contents_ ? contents_->state : segment_state{};
        if (listed != batches_ || (contents_ && (listed != s.batches || previous != s.last)))
            fault_(0, nowhere,
                   path_ + ": it has " + std::to_string(batches_) + " batches, of which " +
                       std::to_string(listed) + " have a position");
        if (contents_ && (s.end < s.last || s.first > s.end))
            fault(0, nowhere, "its state contradicts itself");
    }

    void search(const block_view& block)
    {
        position_walk walk{by_search_};
        for (const auto i : {std::size_t{0}, block.count() - 1})
            if (!walk.floor(block.at(i)) || walk.block().first() != block.first() ||
                walk.index() != i)
                fault(0, nowhere, "a search does not find a position");
    }

    const std::string&                       path_;
    const reading                            in_order_;
    const reading                            by_search_;
    const callback&                          fault_;
    std::optional<segment_contents>          contents_;
    std::map<std::uint32_t, partition_slice> seen_;
    std::uint64_t                            batches_  = 0;
    std::int64_t                             previous_ = -1;
};

}  // namespace

void lmdb_segment::verify(
    const std::function<void(std::uint32_t uid, offset at, const std::string& what)>& fault) const
{
    try {
        const auto e = acquire();
        verifier   v{*e, fault};
        v.run();
        v.guarded([&] { index_slice(); });
    } catch (const storage_error& s) {
        fault(0, nowhere, s.what());
    }
}

}  // namespace cairn::detail
