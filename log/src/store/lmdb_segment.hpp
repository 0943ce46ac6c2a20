// SPDX-License-Identifier: Apache-2.0
//
// A segment in a file, one LMDB environment. Its life:
//
//     prepared   under a temporary name, open for writing
//     active     published under its own name, open for writing; LMDB's lock file beside it
//     sealed     opened read-only when it is needed, without locks; closed when others are
//     removed    unlinked, and open as long as somebody holds the segment
//
// In another process, which only reads, it is followed from active to sealed.
#pragma once

#include "store/lmdb.hpp"
#include "store/lmdb_walk.hpp"
#include "store/segment.hpp"
#include "store/segment_format.hpp"
#include "store/slices.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::detail {

constexpr std::string_view lock_suffix = "-lock";

/// Keeps the sealed segments that were used last open, so that reading does not open a file each
/// time, and file descriptors stay few.
///
/// Threads  Any.
class idle_list
{
public:
    static constexpr std::size_t kept_max = 64;

    void used(const lmdb::environment& e) noexcept;
    void keep(std::shared_ptr<lmdb::environment> e);
    void drop(const std::shared_ptr<lmdb::environment>& e) noexcept;

private:
    std::atomic<std::uint64_t>                      clock_{1};
    std::mutex                                      mutex_;
    std::vector<std::shared_ptr<lmdb::environment>> kept_;  // guarded by mutex_
};

/// What a segment says about itself.
struct segment_contents
{
    segment_state state;
    slices        partitions;
};

/// Throws damaged_segment and newer_format.
segment_contents load_contents(const lmdb::reading& r);

class lmdb_segment final : public segment
{
public:
    /// How this process came by it.
    enum class role {
        prepares,  ///< made it and has not published it
        writes,    ///< nobody else writes
        follows,   ///< somebody else may write, seal, rewrite or remove it
    };

    /// `e` is null where it is sealed.
    lmdb_segment(std::string path, std::shared_ptr<idle_list> idle, segment_contents c,
                 const lmdb::file_facts& facts, std::shared_ptr<lmdb::environment> e, role r);
    ~lmdb_segment() override;

    position           first() const override;
    position           end() const override;
    bool               sealed() const override;
    const std::string& path() const override { return path_; }
    std::uint64_t      bytes() const override;
    segment_summary    summary() const override;

    void append(std::span<const placed_batch> batches, position end) override;
    bool has_room(std::uint64_t bytes) const override;
    void seal() override;

    std::size_t read(std::uint32_t uid, offset from, const read_limits& limits,
                     std::vector<placed_batch>& out) const override;
    std::size_t read_backwards(std::uint32_t uid, offset from, const read_limits& limits,
                               std::vector<placed_batch>& out) const override;
    std::size_t read_all(position from, const read_limits& limits,
                         std::vector<placed_batch>& out) const override;
    std::size_t read_all_backwards(position from, const read_limits& limits,
                                   std::vector<placed_batch>& out) const override;

    std::optional<placed_batch> find(std::uint32_t uid, offset at) const override;
    std::optional<placed_batch> find(position at) const override;
    void find(std::uint32_t uid, std::span<const record_place> wanted,
              std::span<std::optional<placed_batch>> out) const override;
    std::optional<offset>       offset_for_time(std::uint32_t uid, timestamp t) const override;

    bool        has_index_slice() const override;
    std::string index_slice() const override;
    void        set_index_slice(bytes_view run) override;

    void verify(const std::function<void(std::uint32_t uid, offset at, const std::string& what)>&
                    fault) const override;

    // ---- For the store. --------------------------------------------------------------------

    bool is_published() const noexcept { return role_ != role::prepares; }

    /// The file with these facts is this segment, and not another one that was given its name,
    /// or its inode.
    bool is(const std::string& path, const lmdb::file_facts& facts) const;

    /// Gives it its first position and its name, durably.
    void publish(const std::string& path, position first);

    /// Keeps it open from now on: it is about to lose its name.
    void pin() noexcept;

private:
    std::shared_ptr<lmdb::environment> acquire() const;
    bool                               is_as_it_was(const lmdb::file_facts& facts) const noexcept;
    void                               refresh() const;
    std::optional<partition_slice>     slice_of(std::uint32_t uid) const;
    position                           last() const;

    void must_be_writable() const;
    void write_state(const segment_state& s);
    void let_go() const noexcept;

    void must_not_hide(partition_walk& w, const stored_batch& b, offset at, offset end) const;
    void must_not_hide(position_walk& w, const stored_batch& b, position at, position end) const;
    void must_begin_after(position_walk& w, position at) const;

    std::string                path_;
    std::shared_ptr<idle_list> idle_;
    const lmdb::inode_id       id_;
    role                       role_;
    std::uint32_t              appends_ = 0;

    mutable std::mutex                         open_mutex_;  // guards the next five
    mutable std::uint64_t                      file_bytes_;  // once it is sealed
    mutable std::int64_t                       modified_;    // the same
    mutable std::shared_ptr<lmdb::environment> held_;        // while it is written, or has no name
    mutable std::weak_ptr<lmdb::environment>   opened_;      // otherwise
    mutable bool                               pinned_ = false;

    mutable std::mutex    mutex_;  // guards the next three; who appends reads them without
    mutable segment_state state_;
    mutable slices        partitions_;
    mutable std::uint64_t loaded_number_ = 0;  // of the transaction that they were read in
};

}  // namespace cairn::detail
