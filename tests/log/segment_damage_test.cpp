// SPDX-License-Identifier: Apache-2.0
//
// Flipped bits and cut files: whatever is read is what was written, or an error. Every read is
// done in a child process, for LMDB may abort on a damaged page: that is loud, so it is allowed.
//
// CAIRN_DAMAGE_FLIPS says how many flips are tried; more in a long run.
#include <catch2/catch.hpp>

#include "segment_checks.hpp"
#include "store/segment_format.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

using namespace segment_test;

namespace {

enum outcome : int {
    untried,
    right,         // nothing to be noticed where it was read
    reported,      // an error, and no wrong answer before it
    wrong,         // what must not be
    not_verified,  // reading reports it and verify() does not
    died,
    outcomes,
};

// What the segment on disk holds.
struct truth
{
    writer                    w;
    std::string               slice;
    segment_summary           summary;
    std::vector<placed_batch> of(std::uint32_t uid) const
    {
        std::vector<placed_batch> mine;
        for (const auto i : w.written().by_partition.at(uid)) mine.push_back(w.written().all[i]);
        return mine;
    }
};

truth build(const std::string& directory)
{
    truth      t;
    auto       store = make_lmdb_store({.directory = directory});
    const auto s     = store->prepare(64 << 20);
    store->publish(s, position{0}, {});
    for (int a = 0; a < 12; ++a) {
        std::vector<placed_batch> batches;
        for (int i = 0; i < 60; ++i) {
            const auto          uid  = 1 + t.w.random(a < 6 ? 3 : 40);
            const std::uint32_t size = i % 20 == 0 ? 9'000 : i % 3 == 0 ? 1'500 : 150;
            batches.push_back(t.w.make(uid, t.w.random(size), 1 + t.w.random(3),
                                       t.w.random(9) == 0 ? t.w.random(5) : 0));
        }
        append(*s, batches);
    }
    t.slice.assign(300'000, 's');
    s->set_index_slice(t.slice);
    s->seal();
    t.summary = s->summary();
    return t;
}

bool equal(const partition_slice& a, const partition_slice& b)
{
    return a.first == b.first && a.end == b.end && a.bytes == b.bytes && a.batches == b.batches &&
           a.max_timestamp == b.max_timestamp && a.min_timestamp == b.min_timestamp;
}

// Reads in every way. An error ends one way of reading; what came before it must be right.
class inspector
{
public:
    explicit inspector(const truth& t) : truth_{t} {}

    outcome inspect(const std::string& directory)
    {
        std::vector<std::shared_ptr<segment>> all;
        const auto store = make_lmdb_store({.directory = directory, .read_only = true});
        guard([&] { all = store->open_all(); });
        if (reported_) return reported;
        if (all.size() != 1) return wrong;
        const segment& s = *all[0];
        guard([&] {
            expect(s.first() == position{0} && s.end() == truth_.w.end() && s.sealed());
            const auto found = s.summary();
            expect(found.size() == truth_.summary.size());
            for (const auto& [uid, mine] : found)
                expect(truth_.summary.contains(uid) && equal(mine, truth_.summary.at(uid)));
        });
        read_everything(s);
        find_some(s);
        guard([&] { expect(s.index_slice() == truth_.slice); });

        bool fault = false;
        try {
            s.verify([&](auto, auto, const auto&) { fault = true; });
        } catch (const storage_error&) {
            fault = true;
        }
        if (wrong_) return wrong;
        if (reported_) return fault ? reported : not_verified;
        return right;
    }

private:
    void expect(bool holds) { wrong_ = wrong_ || !holds; }

    void guard(const std::function<void()>& f)
    {
        try {
            f();
        } catch (const storage_error&) {
            reported_ = true;
        }
    }

    void expect_same(const std::vector<placed_batch>& found,
                     const std::vector<placed_batch>& wanted, bool whole)
    {
        expect(whole ? found.size() == wanted.size() : found.size() <= wanted.size());
        for (std::size_t i = 0; i < std::min(found.size(), wanted.size()); ++i)
            expect(same(found[i], wanted[i]));
    }

    // Reads on until there is no more, or an error.
    void collect(const std::vector<placed_batch>&                                  wanted,
                 const std::function<std::size_t(std::vector<placed_batch>& out)>& more)
    {
        std::vector<placed_batch> out;
        bool                      whole = false;
        guard([&] {
            while (more(out) != 0)
                if (out.size() > 2 * wanted.size() + 10) break;
            whole = true;
        });
        expect_same(out, wanted, whole);
    }

    void read_everything(const segment& s)
    {
        const read_limits limits{20'000, 50};
        const auto&       all = truth_.w.written().all;
        collect(all, [&](auto& out) {
            return s.read_all(out.empty() ? position{0} : out.back().end_position(), limits, out);
        });
        collect({all.rbegin(), all.rend()}, [&](auto& out) {
            return s.read_all_backwards(out.empty() ? truth_.w.end() : out.back().position - 1,
                                        limits, out);
        });
        for (const auto& [uid, places] : truth_.w.written().by_partition) {
            const auto mine = truth_.of(uid);
            collect(mine, [&, id = uid](auto& out) {
                return s.read(id, out.empty() ? offset{0} : out.back().end_offset(), limits, out);
            });
            collect({mine.rbegin(), mine.rend()}, [&, id = uid](auto& out) {
                return s.read_backwards(
                    id, out.empty() ? mine.back().end_offset() : out.back().base - 1, limits, out);
            });
        }
    }

    // find() leaves the CRC to its caller, who checks it here.
    void expect_found(const std::optional<placed_batch>& found, const placed_batch* wanted)
    {
        if (found && !crc_holds(found->bytes)) {
            reported_ = true;
            return;
        }
        expect(found.has_value() == (wanted != nullptr) && (!found || same(*found, *wanted)));
    }

    void find_some(const segment& s)
    {
        const auto& all = truth_.w.written().all;
        for (std::int64_t p = 0; p < truth_.w.end().value; p += 3)
            guard([&] {
                const auto at = std::find_if(all.begin(), all.end(), [&](const auto& b) {
                    return b.end_position() > position{p};
                });
                const bool in = at != all.end() && at->position <= position{p};
                expect_found(s.find(position{p}), in ? &*at : nullptr);
            });
        for (const auto& [uid, places] : truth_.w.written().by_partition) {
            const auto mine = truth_.of(uid);
            for (std::int64_t o = 0; o < mine.back().end_offset().value; o += 2)
                guard([&, id = uid] {
                    const auto at = std::find_if(mine.begin(), mine.end(), [&](const auto& b) {
                        return b.end_offset() > offset{o};
                    });
                    const bool in = at != mine.end() && at->base <= offset{o};
                    expect_found(s.find(id, offset{o}), in ? &*at : nullptr);
                });
            guard([&, id = uid] {
                const auto t     = mine[mine.size() / 2].max_timestamp + 1;
                const auto first = std::find_if(
                    mine.begin(), mine.end(), [&](const auto& b) { return b.max_timestamp >= t; });
                expect(s.offset_for_time(id, t) ==
                       (first != mine.end() ? std::optional{first->base} : std::nullopt));
            });
        }
    }

    const truth& truth_;
    bool         wrong_    = false;
    bool         reported_ = false;
};

// What the children tell.
struct shared_notes
{
    static constexpr std::size_t places = 200'000;

    std::size_t              next = 0;
    std::array<char, places> outcome{};
};

class damage
{
public:
    damage()
    {
        truth_ = build(directory_.path());
        file_  = directory_.path() + "/00000000000000000000.seg";
        fd_    = open(file_.c_str(), O_RDWR | O_CLOEXEC);
        size_  = static_cast<std::size_t>(lseek(fd_, 0, SEEK_END));
        whole_.resize(size_);
        REQUIRE(pread(fd_, whole_.data(), size_, 0) == static_cast<ssize_t>(size_));
        notes_ =
            static_cast<shared_notes*>(mmap(nullptr, sizeof(shared_notes), PROT_READ | PROT_WRITE,
                                            MAP_SHARED | MAP_ANONYMOUS, -1, 0));
        REQUIRE(notes_ != MAP_FAILED);
    }
    ~damage()
    {
        munmap(notes_, sizeof(shared_notes));
        close(fd_);
    }
    damage(const damage&)            = delete;
    damage& operator=(const damage&) = delete;

    std::size_t        size() const { return size_; }
    const std::string& whole() const { return whole_; }

    /// Does `harm(i)` and reads, for each i below n; returns how often each outcome was.
    std::array<std::size_t, outcomes> try_all(std::size_t                             n,
                                              const std::function<void(std::size_t)>& harm)
    {
        REQUIRE(n <= shared_notes::places);
        notes_->next = 0;
        notes_->outcome.fill(untried);
        while (notes_->next < n) {
            const auto child = fork();
            if (child == 0) {
                const int nothing = open("/dev/null", O_WRONLY);
                dup2(nothing, 2);
                for (const int s : {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE})
                    signal(s, SIG_DFL);  // Catch would tell of each
                while (notes_->next < n) {
                    alarm(60);
                    harm(notes_->next);
                    notes_->outcome[notes_->next] =
                        static_cast<char>(inspector{truth_}.inspect(directory_.path()));
                    heal();
                    ++notes_->next;
                }
                _exit(0);
            }
            int status = 0;
            waitpid(child, &status, 0);
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0) break;
            notes_->outcome[notes_->next] = died;
            ++notes_->next;
            heal();
        }
        std::array<std::size_t, outcomes> counts{};
        for (std::size_t i = 0; i < n; ++i) {
            ++counts[static_cast<std::size_t>(notes_->outcome[i])];
            if (notes_->outcome[i] == wrong || notes_->outcome[i] == not_verified)
                bad_.push_back(i);
        }
        return counts;
    }

    void flip(std::size_t bit)
    {
        const char c = static_cast<char>(whole_[bit / 8] ^ (1 << bit % 8));
        if (pwrite(fd_, &c, 1, static_cast<off_t>(bit / 8)) != 1) _exit(9);
    }
    void cut(std::size_t bytes)
    {
        if (ftruncate(fd_, static_cast<off_t>(bytes)) != 0) _exit(9);
    }

    const std::vector<std::size_t>& bad() const { return bad_; }

private:
    void heal()
    {
        // All of it where the child died and only it knows what it did.
        if (pwrite(fd_, whole_.data(), size_, 0) != static_cast<ssize_t>(size_)) _exit(9);
    }

    temporary_directory      directory_{place::disk};
    truth                    truth_;
    std::string              file_;
    std::string              whole_;
    int                      fd_    = -1;
    std::size_t              size_  = 0;
    shared_notes*            notes_ = nullptr;
    std::vector<std::size_t> bad_;
};

std::size_t how_many(std::size_t usual)
{
    const char* const given = std::getenv("CAIRN_DAMAGE_FLIPS");
    return given != nullptr ? static_cast<std::size_t>(std::atoll(given)) : usual;
}

void tell(const char* what, const std::array<std::size_t, outcomes>& n)
{
    std::printf(
        "%s: %zu without effect, %zu reported, %zu ended the child, %zu silently wrong, %zu "
        "not found by verify\n",
        what, n[right], n[reported], n[died], n[wrong], n[not_verified]);
}

}  // namespace

TEST_CASE("a flipped bit is never served", "[segment]")
{
    std::minstd_rand random{seed()};
    damage           d;

    // Most of a file is batches; LMDB's own pages are where the harm is subtle.
    std::vector<std::size_t> tree;
    for (std::size_t page = 0; page + 4096 <= d.size(); page += 4096) {
        const auto flags = static_cast<unsigned char>(d.whole()[page + 10]);
        const bool own   = load_little<std::uint64_t>(d.whole().data() + page) == page / 4096;
        if (own && (flags & 0x0b) != 0) tree.push_back(page);  // branch, leaf, meta
    }
    REQUIRE(tree.size() > 5);

    std::vector<std::size_t> bits(how_many(3000));
    for (std::size_t i = 0; i < bits.size(); ++i)
        bits[i] = i % 2 == 0 ? random() % (d.size() * 8)
                             : tree[random() % tree.size()] * 8 + random() % (4096 * 8);
    const auto n = d.try_all(bits.size(), [&](std::size_t i) { d.flip(bits[i]); });
    tell("bit flips", n);
    for (const auto i : d.bad())
        std::printf("    bit %zu: page %zu, byte %zu of it\n", bits[i], bits[i] / 8 / 4096,
                    bits[i] / 8 % 4096);
    CHECK(n[untried] == 0);
    CHECK(n[wrong] == 0);
    CHECK(n[not_verified] == 0);
    CHECK(n[reported] > n[died]);
}

TEST_CASE("a file that was cut is refused", "[segment]")
{
    std::minstd_rand random{seed()};
    damage           d;
    const auto       n = d.try_all(std::max<std::size_t>(300, how_many(0) / 10),
                                   [&](std::size_t) { d.cut(random() % d.size()); });
    tell("truncations", n);
    CHECK(n[wrong] == 0);
    CHECK(n[right] == 0);
    CHECK(n[died] == 0);
    CHECK(n[not_verified] == 0);
}
