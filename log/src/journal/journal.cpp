// SPDX-License-Identifier: Apache-2.0
//
// Files move in one circle, and only the thread that moves one touches it:
//
//     made ──▶ ready ──▶ active ──▶ held ──▶ free ──▶ (made again, under a new generation)
//     make()   take      write()    full     release() passed its end
//
// Which bytes lie where: format.hpp. What is read after a crash: reader.hpp.
#include "journal/journal.hpp"

#include "file.hpp"
#include "journal/format.hpp"
#include "journal/reader.hpp"

#include <cairn/log/crc32c.hpp>

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::detail {

namespace {

constexpr std::size_t block_bytes  = 4096;     // what O_DIRECT may ask of a buffer's address
constexpr std::size_t buffer_bytes = 1 << 20;  // a larger group takes several write calls
constexpr std::size_t name_digits  = 16;

constexpr std::array<char, journal_sector_data> padding{};

#ifdef CAIRN_ACKNOWLEDGE_BEFORE_FLUSH
// The control of the crash tests: they must find that this loses what was acknowledged.
constexpr bool acknowledge_before_flush = true;
#else
constexpr bool acknowledge_before_flush = false;
#endif

struct free_memory
{
    void operator()(char* p) const noexcept { std::free(p); }
};
using aligned_buffer = std::unique_ptr<char[], free_memory>;

aligned_buffer make_buffer(std::size_t bytes)
{
    aligned_buffer buffer{static_cast<char*>(std::aligned_alloc(block_bytes, bytes))};
    if (!buffer) throw std::bad_alloc{};
    return buffer;
}

std::uint64_t random_salt()
{
    std::uint64_t salt = 0;
    while (::getrandom(&salt, sizeof salt, 0) != sizeof salt)
        if (errno != EINTR) throw_io_error(errno, "get random numbers for", "the journal");
    return salt;
}

/// A journal file that may be written.
struct journal_file
{
    file          f;
    std::uint64_t generation = 0;
    std::uint64_t salt       = 0;
    std::uint64_t bytes      = 0;
    std::uint64_t at         = journal_sector_bytes;  ///< where the next group goes
    position      end;                                ///< held: after its last group
};

std::string file_name(std::uint64_t generation, std::string_view suffix)
{
    auto digits = std::to_string(generation);
    return std::string(name_digits - std::min(digits.size(), name_digits), '0') + digits +
           std::string{suffix};
}

std::optional<std::uint64_t> generation_of(std::string_view name, std::string_view suffix)
{
    if (name.size() != name_digits + suffix.size() || !name.ends_with(suffix)) return {};
    std::uint64_t generation = 0;
    for (char c : name.substr(0, name_digits)) {
        if (c < '0' || c > '9') return {};
        generation = generation * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return generation;
}

/// Writes with O_DIRECT, and goes on so; through the page cache where that is refused (another
/// file system, or a disk whose blocks are larger than a sector).
///
/// Measured on ext4: a group's write and flush takes 4 % (512 B) to 16 % (256 KiB) less time and
/// 10 to 45 % less processor than through the cache; making a file ready disturbs the flushes
/// beside it less (longest 4 ms, not 19); and readers keep their cache.
template <class Write>
void past_the_cache(file& f, Write write)
{
    if (f.set_direct(true)) {
        try {
            write();
            return;
        } catch (const storage_error& e) {
            if (e.code() != errc::io_failed) throw;
        }
    }
    f.set_direct(false);
    write();
}

[[noreturn]] void throw_damaged(const std::string& path, std::uint64_t byte, position p,
                                const std::string& what)
{
    throw storage_error{errc::damaged_journal,
                        "the journal is damaged: " + path + ", byte " + std::to_string(byte) +
                            ", position " + std::to_string(p.value) + ": " + what +
                            "; what was acknowledged from this position on cannot be vouched "
                            "for: restore a backup, or ask `cairn verify` what is still whole"};
}

}  // namespace

struct journal::impl
{
    explicit impl(journal_options o);
    ~impl();

    void recover(position merged, const std::function<std::int64_t(position, bytes_view)>& group);
    void write(position first, std::span<const bytes_view> payload, position end);
    void release(position merged);
    void prepare();

    // What recover() found of one file.
    struct found
    {
        file                 f;
        std::uint64_t        generation = 0;
        journal_file_opening opening;
        position             end{-1};  // after its last group above `merged`; -1: none
    };
    struct last_group
    {
        file*         in    = nullptr;
        std::uint64_t at    = 0;
        std::uint64_t bytes = 0;
    };
    class walk;

    std::vector<found> find_files();
    void               write_again(const last_group& last);
    void               keep(std::vector<found>& files, position merged);

    // What make() has to do. Made under the mutex, carried out without it.
    struct plan
    {
        std::uint64_t               generation  = 0;
        std::uint64_t               bytes       = 0;
        std::int64_t                earlier_end = journal_bound_unknown;
        std::optional<journal_file> recycled;
        std::vector<journal_file>   removed;
    };
    std::optional<plan> plan_file(std::uint64_t bytes);
    journal_file        make(std::unique_lock<std::mutex>& lock, plan p);
    journal_file        carry_out(plan& p) const;
    void                free_released();
    void                move_on(std::uint64_t bytes);
    void                close_cleanly() noexcept;

    void write_group(const journal_group_header& h, std::span<const bytes_view> payload);
    void flush();
    void take_back(std::uint64_t bytes);
    void check_not_failed() const;
    [[noreturn]] void fail(const storage_error& reason);

    std::string path(std::uint64_t of_generation, std::string_view suffix) const
    {
        return options.directory + "/" + file_name(of_generation, suffix);
    }

    const journal_options options;

    // The writing thread's; `active` and `next` change under the mutex where they change hands.
    aligned_buffer              buffer;
    std::optional<journal_file> active;
    position                    next;  // first position of the next group
    bool                        recovered = false;
    std::atomic<bool>           failed{false};
    std::string                 failure;

    std::mutex                  mutex;
    std::condition_variable     changed;
    std::optional<journal_file> ready;   // all below: protected by mutex
    std::vector<journal_file>   held;    // oldest first; these two have their memory since
    std::vector<journal_file>   unused;  // recover(): moving a file on cannot fail
    std::size_t                 on_disk    = 0;
    std::uint64_t               generation = 0;  // the last one given
    position                    released;
    bool                        making          = false;
    bool                        stopped         = false;
    bool                        refuses_to_wait = false;

    std::atomic<std::uint64_t> groups{0};
    std::atomic<std::uint64_t> bytes{0};
    std::atomic<std::uint64_t> waits{0};
};

journal::impl::impl(journal_options o) : options{std::move(o)}, buffer{make_buffer(buffer_bytes)}
{
    if (options.files < 1 || options.file_bytes < 2 * journal_sector_bytes ||
        options.file_bytes % journal_sector_bytes != 0)
        throw error{errc::invalid_argument,
                    "a journal has at least one file, of a multiple of 512 bytes from 1024 on"};
}

journal::impl::~impl()
{
    close_cleanly();
}

// ---- Recovery ------------------------------------------------------------------------------

/// Goes through the files, oldest first, and judges what it finds.
///
/// Something damaged is remembered until the next good group. If that one begins at or below
/// `merged`, all that could have been lost is merged, and it does not matter.
class journal::impl::walk
{
public:
    walk(position merged, const std::function<std::int64_t(position, bytes_view)>& callback)
        : merged_{merged}, callback_{callback}, end_{merged}
    {
    }

    void read(found& in)
    {
        const auto& path = in.f.path();
        if (!in.opening.complaint.empty()) {
            remember(path, 0, in.opening.complaint);
            return;
        }
        journal_reader reader{in.f, in.opening.header};
        for (;;) {
            const auto step = reader.next();
            if (step == journal_reader::step::end) break;
            if (step == journal_reader::step::damage)
                remember(path, reader.damage().at, reader.damage().what);
            else
                take(in, reader.group());
        }
        const auto size = in.f.size();
        if (size != in.opening.header.bytes)
            remember(path, std::min(size, in.opening.header.bytes),
                     "the file has " + std::to_string(size) + " bytes and was made with " +
                         std::to_string(in.opening.header.bytes));
    }

    void finish() const { throw_damage(); }

    position   end() const noexcept { return end_; }
    last_group last() const noexcept { return last_; }

private:
    struct damage
    {
        std::string   path;
        std::uint64_t byte = 0;
        position      at;
        std::string   what;
    };

    void remember(const std::string& path, std::uint64_t byte, const std::string& what)
    {
        if (!damage_) damage_ = damage{path, byte, end_, what};
    }

    void throw_damage() const
    {
        if (damage_) throw_damaged(damage_->path, damage_->byte, damage_->at, damage_->what);
    }

    void take(found& in, const journal_group& g)
    {
        if (g.first > merged_) throw_damage();
        damage_.reset();
        if (seen_ && g.first < end_)
            throw_damaged(in.f.path(), g.at, g.first,
                          "a group begins before the end of the one before it, " +
                              std::to_string(end_.value));
        if (g.first > std::max(end_, merged_))
            throw_damaged(in.f.path(), g.at, std::max(end_, merged_),
                          "the next group begins at " + std::to_string(g.first.value) +
                              ": what lies between is missing");
        seen_ = true;
        end_  = g.end;
        if (g.end <= merged_) return;

        in.end = g.end;
        last_  = {&in.f, g.at, g.bytes};
        if (callback_(g.first, g.payload) != g.end - g.first)
            throw_damaged(in.f.path(), g.at, g.first,
                          "a group holds another number of positions than its header says");
    }

    position                                                 merged_;
    const std::function<std::int64_t(position, bytes_view)>& callback_;
    position                                                 end_;
    bool                                                     seen_ = false;
    std::optional<damage>                                    damage_;
    last_group                                               last_;
};

void journal::impl::recover(position                                                 merged,
                            const std::function<std::int64_t(position, bytes_view)>& group)
{
    auto files = find_files();

    // Where a file begins at or below `merged`, all before it is merged: opening takes no
    // longer for a long history.
    std::size_t begin = files.size();
    while (begin > 0) {
        const auto& o = files[--begin].opening;
        if (o.complaint.empty() &&
            (o.header.earlier_end <= merged.value || (o.first && *o.first <= merged)))
            break;
    }
    walk w{merged, group};
    for (auto i = begin; i < files.size(); ++i) w.read(files[i]);
    w.finish();
    if (options.read_only) return;

    if (w.last().in) write_again(w.last());
    keep(files, merged);
    next      = std::max(w.end(), merged);
    recovered = true;
}

std::vector<journal::impl::found> journal::impl::find_files()
{
    std::vector<found> files;
    for (const auto& name : list_directory(options.directory)) {
        if (generation_of(name, ".tmp") && !options.read_only)
            remove_file(options.directory + "/" + name);
        const auto g = generation_of(name, ".jnl");
        if (!g) continue;
        generation = std::max(generation, *g);
        auto f = file::try_open(options.directory + "/" + name,
                                options.read_only ? file::access::read : file::access::write);
        if (!f) continue;  // its writer, another process then, is just reusing it
        auto opening = read_journal_opening(*f, *g);
        files.push_back({.f = std::move(*f), .generation = *g, .opening = std::move(opening)});
    }
    return files;  // sorted, as names are
}

// The last group may have been read from the page cache while the disk does not have it: the
// process died before the flush, or the flush failed (after which the kernel takes the pages
// for clean). What comes after it will be flushed in another file, so it must be made durable
// first. Only the last: those before it were flushed. The same bytes in the same place: a crash
// in between harms nothing.
void journal::impl::write_again(const last_group& last)
{
    file& f = *last.in;
    for (std::uint64_t done = 0; done < last.bytes;) {
        const auto n = std::min<std::uint64_t>(last.bytes - done, buffer_bytes);
        f.read_at(last.at + done, buffer.get(), n);
        f.write_at(last.at + done, bytes_view{buffer.get(), n});
        done += n;
    }
    f.sync_data();
}

void journal::impl::keep(std::vector<found>& files, position merged)
{
    const std::lock_guard lock{mutex};
    released = merged;
    on_disk  = files.size();
    held.reserve(files.size() + options.files);
    unused.reserve(files.size() + options.files);
    for (auto& was : files) {
        journal_file j;
        j.f          = std::move(was.f);
        j.generation = was.generation;
        j.bytes      = j.f.size();
        j.end        = was.end;
        (was.end > merged ? held : unused).push_back(std::move(j));
    }
    for (; on_disk > options.files && !unused.empty(); --on_disk) {
        remove_file(unused.front().f.path());
        unused.erase(unused.begin());
    }
    sync_directory(options.directory);
}

// ---- Making files ready --------------------------------------------------------------------

// REQUIRES: the mutex is held, and nobody is making a file.
std::optional<journal::impl::plan> journal::impl::plan_file(std::uint64_t file_bytes)
{
    plan p;
    // Generations are in the order of writing. A file that was made ready and is too small for
    // what comes now must not be written after it under an earlier one.
    if (ready && ready->bytes < file_bytes) {
        unused.push_back(std::move(*ready));
        ready.reset();
    }
    p.removed.reserve(unused.size());
    const auto fits = [&](const journal_file& j) { return j.bytes == options.file_bytes; };
    const auto odd  = std::stable_partition(unused.begin(), unused.end(), fits);
    std::move(odd, unused.end(), std::back_inserter(p.removed));
    on_disk -= p.removed.size();
    unused.erase(odd, unused.end());

    p.bytes = std::max(file_bytes, options.file_bytes);
    if (p.bytes == options.file_bytes && !unused.empty()) {
        p.recycled = std::move(unused.front());
        unused.erase(unused.begin());
    } else if (on_disk < options.files) {
        ++on_disk;
    } else if (!unused.empty()) {
        p.removed.push_back(std::move(unused.front()));
        unused.erase(unused.begin());
    } else {
        return std::nullopt;
    }
    p.generation = ++generation;
    if (!active) p.earlier_end = next.value;
    return p;
}

// Carries out a plan with the lock released, and says so to whoever waits for it.
journal_file journal::impl::make(std::unique_lock<std::mutex>& lock, plan p)
{
    making = true;
    lock.unlock();
    try {
        auto made = carry_out(p);
        lock.lock();
        making = false;
        changed.notify_all();
        return made;
    } catch (...) {
        lock.lock();
        making = false;
        --on_disk;
        changed.notify_all();
        throw;
    }
}

journal_file journal::impl::carry_out(plan& p) const
{
    for (auto& j : p.removed) remove_file(j.f.path());
    p.removed.clear();

    journal_file j;
    if (p.recycled) j = std::move(*p.recycled);
    j.generation = p.generation;
    j.salt       = random_salt();
    j.bytes      = p.bytes;
    j.at         = journal_sector_bytes;

    const auto temporary = path(p.generation, ".tmp");
    const auto old_path  = j.f.path();
    try {
        if (j.f) {
            // Under its old name it must never be seen with the new header.
            j.f.rename(temporary);
            sync_directory(options.directory);
        } else {
            // Zeros, and durable (below), so that flushing a group later needs no metadata: no
            // block is allocated, no size changed, no extent converted.
            j.f = file{temporary, file::access::truncate};
            past_the_cache(j.f, [&] { j.f.fill_with_zeros(0, j.bytes); });
        }

        alignas(block_bytes) std::array<char, journal_sector_bytes> sector{};
        const auto h = journal_file_header{.generation  = j.generation,
                                           .salt        = j.salt,
                                           .bytes       = j.bytes,
                                           .earlier_end = p.earlier_end};
        std::memcpy(sector.data(), &h, sizeof h);
        const auto check = crc32c({sector.data(), sector.size() - sizeof(std::uint32_t)});
        std::memcpy(sector.data() + sector.size() - sizeof check, &check, sizeof check);

        past_the_cache(j.f, [&] {
            j.f.write_blocks(0, {sector.data(), sector.size()}, journal_sector_bytes);
        });
        j.f.sync_data();
        j.f.rename(path(p.generation, ".jnl"));
        sync_directory(options.directory);
        return j;
    } catch (...) {
        // What is half made is given up; a leftover is removed by the next recover().
        for (const auto& leftover : {temporary, old_path, path(p.generation, ".jnl")}) {
            try {
                if (!leftover.empty()) remove_file(leftover);
            } catch (const storage_error&) {
            }
        }
        throw;
    }
}

void journal::impl::prepare()
{
    std::unique_lock lock{mutex};
    if (!recovered || ready || making || failed || stopped) return;
    free_released();
    if (auto p = plan_file(options.file_bytes)) ready = make(lock, std::move(*p));
}

// ---- The circle ----------------------------------------------------------------------------

// REQUIRES: the mutex is held.
void journal::impl::free_released()
{
    while (!held.empty() && held.front().end <= released) {
        unused.push_back(std::move(held.front()));
        held.erase(held.begin());
    }
}

void journal::impl::release(position merged)
{
    const std::lock_guard lock{mutex};
    released = std::max(released, merged);
    free_released();
    changed.notify_all();
}

// Puts a file with room for so many bytes in the place of the active one.
void journal::impl::move_on(std::uint64_t file_bytes)
{
    std::unique_lock lock{mutex};
    if (active) {
        active->end = next;
        held.push_back(std::move(*active));
        active.reset();
    }
    for (bool waited = false;;) {
        free_released();
        if (ready && ready->bytes >= file_bytes) {
            active = std::move(ready);
            ready.reset();
            return;
        }
        if (!making) {
            if (auto p = plan_file(file_bytes)) {
                auto made = make(lock, std::move(*p));
                active    = std::move(made);
                return;
            }
            if (stopped)
                throw storage_error{errc::closed,
                                    "the log is closing; the append was not recorded, repeat "
                                    "it when the log is open again"};
            if (refuses_to_wait)
                throw storage_error{errc::disk_full,
                                    "the disk is full: the journal holds what cannot be moved on "
                                    "from it. Nothing of this append was recorded; make room and "
                                    "repeat it"};
            if (!std::exchange(waited, true)) ++waits;
            if (options.on_wait) options.on_wait();
        }
        changed.wait(lock);
    }
}

// With nothing left to merge, leaves a file that says so: the next recover() reads one sector.
void journal::impl::close_cleanly() noexcept
{
    try {
        std::unique_lock lock{mutex};
        if (failed || !active || released < next) return;
        active->end = next;
        held.push_back(std::move(*active));
        active.reset();
        free_released();
        if (ready) unused.push_back(std::move(*ready));
        ready.reset();
        if (auto p = plan_file(options.file_bytes)) make(lock, std::move(*p));
    } catch (...) {
        // Only the next opening is slower.
    }
}

// ---- Writing -------------------------------------------------------------------------------

void journal::impl::write(position first, std::span<const bytes_view> payload, position end)
{
    check_not_failed();
    if (!recovered || first != next || end < first ||
        end - first > std::numeric_limits<std::uint32_t>::max())
        throw error{errc::invalid_argument,
                    "a journal group begins where the one before ended, at position " +
                        std::to_string(next.value) + ", not at " + std::to_string(first.value)};

    std::uint64_t size = 0;
    for (auto piece : payload) size += piece.size();
    if (size > std::numeric_limits<std::uint32_t>::max())
        throw error{errc::record_too_large,
                    "an append of " + std::to_string(size) +
                        " bytes is larger than a journal group can be (4 GiB); split it"};

    if (acknowledge_before_flush && active) flush();  // the group before this one
    const auto group_bytes = journal_group_sectors(size) * journal_sector_bytes;
    if (!active || active->at + group_bytes > active->bytes)
        move_on(journal_sector_bytes + group_bytes);

    journal_group_header h{.salt          = active->salt,
                           .first         = first.value,
                           .positions     = static_cast<std::uint32_t>(end - first),
                           .payload_bytes = static_cast<std::uint32_t>(size)};
    for (auto piece : payload) h.payload_check = crc32c(piece, h.payload_check);
    h.payload_check = crc32c({padding.data(), journal_group_padding(size)}, h.payload_check);
    h.check         = journal_check(h);

    try {
        write_group(h, payload);
    } catch (const storage_error& e) {
        if (e.code() != errc::disk_full && e.code() != errc::out_of_memory) fail(e);
        take_back(group_bytes);
        throw;
    } catch (...) {
        failed = true;
        throw;
    }
    if (!acknowledge_before_flush) flush();

    active->at += group_bytes;
    next = end;
    groups.fetch_add(1, std::memory_order_relaxed);
    bytes.fetch_add(group_bytes, std::memory_order_relaxed);
}

// Lays the group out in tagged sectors, and writes them: with one call where it fits the buffer.
void journal::impl::write_group(const journal_group_header& h, std::span<const bytes_view> payload)
{
    auto        at     = active->at;
    auto        number = at / journal_sector_bytes;
    std::size_t filled = 0;  // bytes of the current sector
    char*       sector = buffer.get();

    const auto write_out = [&] {
        const auto n = static_cast<std::size_t>(sector - buffer.get());
        active->f.write_blocks(at, {buffer.get(), n}, journal_sector_bytes);
        at += n;
        sector = buffer.get();
    };
    const auto seal = [&] {
        const bool begins = number == active->at / journal_sector_bytes;
        const auto tag    = make_journal_tag(journal_mark(active->generation, begins), number++);
        std::memcpy(sector + journal_sector_data, &tag, sizeof tag);
        sector += journal_sector_bytes;
        filled = 0;
        if (sector == buffer.get() + buffer_bytes) write_out();
    };
    const auto put = [&](bytes_view piece) {
        while (!piece.empty()) {
            const auto n = std::min(piece.size(), journal_sector_data - filled);
            std::memcpy(sector + filled, piece.data(), n);
            piece.remove_prefix(n);
            filled += n;
            if (filled == journal_sector_data) seal();
        }
    };

    put({reinterpret_cast<const char*>(&h), sizeof h});
    for (auto piece : payload) put(piece);
    put({padding.data(), journal_group_padding(h.payload_bytes)});
    if (sector != buffer.get()) write_out();
}

void journal::impl::flush()
{
    try {
        active->f.sync_data();
    } catch (const storage_error& e) {
        fail(e);
    } catch (...) {
        failed = true;
        throw;
    }
}

// The disk had no room in the middle of a group. The caller will be told that nothing was
// written, so none of it may ever be read as a group, not even if the disk has more of it than
// it said: its sectors become zeros again, durably, before the refusal is given.
void journal::impl::take_back(std::uint64_t group_bytes)
{
    try {
        const auto n = std::min<std::uint64_t>(group_bytes, buffer_bytes);
        std::memset(buffer.get(), 0, n);
        for (std::uint64_t done = 0; done < group_bytes; done += n)
            active->f.write_blocks(active->at + done,
                                   {buffer.get(), std::min(n, group_bytes - done)},
                                   journal_sector_bytes);
        active->f.sync_data();
    } catch (const storage_error& e) {
        fail(e);
    } catch (...) {
        failed = true;
        throw;
    }
}

void journal::impl::check_not_failed() const
{
    if (failed)
        throw storage_error{errc::io_failed,
                            "the journal takes no more appends since an error: " + failure};
}

// After a failed flush nobody knows what the disk has: the kernel may take the lost pages for
// clean, so a second flush that succeeds says nothing. No acknowledgement is given any more.
void journal::impl::fail(const storage_error& reason)
{
    failed  = true;
    failure = reason.what();
    throw storage_error{errc::io_failed, failure};
}

// ---- The interface -------------------------------------------------------------------------

journal::journal(journal_options o) : impl_{std::make_unique<impl>(std::move(o))} {}

journal::~journal() = default;

void journal::recover(position                                                 merged,
                      const std::function<std::int64_t(position, bytes_view)>& group)
{
    impl_->recover(merged, group);
}

void journal::write(position first, std::span<const bytes_view> payload, position end)
{
    impl_->write(first, payload, end);
}

void journal::release(position merged)
{
    impl_->release(merged);
}

void journal::prepare()
{
    impl_->prepare();
}

void journal::refuse_to_wait(bool yes)
{
    const std::lock_guard lock{impl_->mutex};
    impl_->refuses_to_wait = yes;
    impl_->changed.notify_all();
}

void journal::stop()
{
    const std::lock_guard lock{impl_->mutex};
    impl_->stopped = true;
    impl_->changed.notify_all();
}

bool journal::has_failed() const noexcept { return impl_->failed; }

journal_statistics journal::statistics() const
{
    journal_statistics s;
    s.groups = impl_->groups.load(std::memory_order_relaxed);
    s.bytes  = impl_->bytes.load(std::memory_order_relaxed);
    s.waits  = impl_->waits.load(std::memory_order_relaxed);
    const std::lock_guard lock{impl_->mutex};
    s.files = impl_->on_disk;
    return s;
}

}  // namespace cairn::detail
