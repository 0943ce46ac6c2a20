// SPDX-License-Identifier: Apache-2.0
#include "enumerate.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <ostream>
#include <random>
#include <set>
#include <stdexcept>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace cairn::testing {

namespace {

constexpr std::size_t sector_bytes = 512;
constexpr std::size_t block_bytes  = 4096;

using kind  = operation::kind;
using clock = std::chrono::steady_clock;

double seconds_since(clock::time_point t)
{
    return std::chrono::duration<double>(clock::now() - t).count();
}

std::uint64_t mix(std::uint64_t h, std::uint64_t v)
{
    h ^= v;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

std::uint64_t hash(std::string_view bytes)
{
    std::array<std::uint64_t, 4> lanes{1, 2, 3, bytes.size()};
    while (bytes.size() >= sizeof lanes) {
        std::array<std::uint64_t, 4> words;
        std::memcpy(words.data(), bytes.data(), sizeof words);
        for (std::size_t i = 0; i < 4; ++i) lanes[i] = mix(lanes[i], words[i]);
        bytes.remove_prefix(sizeof lanes);
    }
    for (char c : bytes) lanes[0] = mix(lanes[0], static_cast<unsigned char>(c));
    return mix(mix(mix(lanes[0], lanes[1]), lanes[2]), lanes[3]);
}

// ---- The model of the disk -----------------------------------------------------------------

/// Something done to a file's content or size that may not be durable.
struct file_change
{
    std::size_t   index   = 0;  // of the operation
    bool          durable = false;
    bool          data    = false;  // a write's bytes; else a size
    std::uint64_t size    = 0;
};

struct node_state
{
    bool                     directory = false;
    std::string              base;      // durable; as long as the durable size
    std::uint64_t            size = 0;  // the durable size and all changes
    std::vector<file_change> changes;
    std::uint64_t            base_hash  = 0;
    bool                     hash_known = false;

    std::uint64_t hash_of_base()
    {
        if (!std::exchange(hash_known, true)) base_hash = hash(base);
        return base_hash;
    }
};

using names = std::map<std::pair<node_id, std::string>, node_id>;

/// Which sectors of a write are there.
struct torn
{
    enum class shape : std::uint8_t {
        none,
        whole,
        head,    // the first `sectors`
        tail,    // all but the first `sectors`
        random,  // by `seed`
    };
    shape         what    = shape::whole;
    std::uint64_t sectors = 0;
    std::uint64_t seed    = 0;

    bool has(std::uint64_t sector) const
    {
        switch (what) {
        case shape::none:
            return false;
        case shape::whole:
            return true;
        case shape::head:
            return sector < sectors;
        case shape::tail:
            return sector >= sectors;
        case shape::random:
            return (mix(seed, sector) >> 40 & 1) != 0;
        }
        return false;
    }
};

struct open_write
{
    node_id       node    = 0;
    std::size_t   change  = 0;
    std::uint64_t sectors = 0;
};

struct open_sizes
{
    node_id     node  = 0;
    std::size_t count = 0;  // so many size changes that are not durable
};

/// What is undecided at one point.
struct undecided
{
    std::vector<open_write>  writes;  // oldest first
    std::vector<open_sizes>  sizes;
    std::vector<std::size_t> entries;  // indices into disk::entries()
};

/// A decision about all of it.
struct choice
{
    std::vector<torn>          writes;
    std::vector<std::uint64_t> sizes;    // so many of the changes are there
    std::vector<char>          entries;  // there or not
};

class disk
{
public:
    explicit disk(const recording& r) : tape_{r}, nodes_(r.nodes)
    {
        nodes_[0].directory = true;
        for (const auto& n : r.start) {
            auto& node                 = nodes_[n.node];
            node.directory             = n.directory;
            node.base                  = n.content;
            node.size                  = n.content.size();
            names_[{n.parent, n.name}] = n.node;
        }
    }

    void apply(std::size_t index)
    {
        const auto& o = tape_.operations[index];
        switch (o.what) {
        case kind::write:
            write(index, o);
            break;
        case kind::resize:
            nodes_[o.node].changes.push_back({.index = index, .size = o.bytes});
            nodes_[o.node].size = o.bytes;
            changed_.insert(o.node);
            break;
        case kind::sync:
            sync(o);
            break;
        case kind::make_directory:
            nodes_[o.node].directory = true;
            [[fallthrough]];
        case kind::make_file:
        case kind::link:
        case kind::rename:
        case kind::remove:
            entries_.push_back({index, false});
            break;
        case kind::mark:
            break;
        }
    }

    undecided open() const
    {
        undecided u;
        for (const auto id : changed_) {
            const auto& n = nodes_[id];
            open_sizes  s{.node = id};
            for (std::size_t i = 0; i < n.changes.size(); ++i) {
                const auto& c = n.changes[i];
                if (c.durable) continue;
                if (!c.data) {
                    ++s.count;
                } else {
                    const auto& o = tape_.operations[c.index];
                    u.writes.push_back({id, i, sectors_of(o)});
                }
            }
            if (s.count > 0) u.sizes.push_back(s);
        }
        std::sort(u.writes.begin(), u.writes.end(), [this](const auto& a, const auto& b) {
            return nodes_[a.node].changes[a.change].index < nodes_[b.node].changes[b.change].index;
        });
        for (std::size_t i = 0; i < entries_.size(); ++i)
            if (!entries_[i].durable) u.entries.push_back(i);
        return u;
    }

    /// Leaves out what waits for something that is not there. False where nothing was changed.
    bool make_legal(const undecided& u, choice& c) const
    {
        bool changed = false;
        for (std::size_t i = 0; i < u.entries.size(); ++i) {
            if (!c.entries[i]) continue;
            for (std::size_t j = 0; j < i; ++j)
                if (!c.entries[j] && depends(u.entries[i], u.entries[j])) {
                    c.entries[i] = 0;
                    changed      = true;
                    break;
                }
        }
        return changed;
    }

    /// The names of the files and directories.
    names names_after(const undecided& u, const choice& c) const
    {
        auto        result = names_;
        std::size_t next   = 0;
        for (std::size_t i = 0; i < entries_.size(); ++i) {
            bool there = true;
            if (next < u.entries.size() && u.entries[next] == i) there = c.entries[next++] != 0;
            if (there) change(result, tape_.operations[entries_[i].index]);
        }
        return result;
    }

    /// The content of a file. A view of the base where nothing is undecided in it.
    std::string_view content(node_id id, const undecided& u, const choice& c,
                             std::string& scratch) const
    {
        const auto& n = nodes_[id];
        if (n.changes.empty()) return n.base;

        scratch.assign(n.base);
        std::uint64_t size        = n.base.size();
        std::uint64_t sizes_there = 0;
        for (std::size_t i = 0; i < u.sizes.size(); ++i)
            if (u.sizes[i].node == id) sizes_there = c.sizes[i];
        std::size_t next = 0;
        for (std::size_t i = 0; i < n.changes.size(); ++i) {
            const auto& change = n.changes[i];
            if (!change.data) {
                const bool there = change.durable || sizes_there > 0;
                if (!change.durable && sizes_there > 0) --sizes_there;
                if (!there) continue;
                if (scratch.size() > change.size) scratch.resize(change.size);
                size = change.size;
                continue;
            }
            const torn* how = nullptr;
            if (!change.durable) {
                while (u.writes[next].node != id || u.writes[next].change != i) ++next;
                how = &c.writes[next];
            }
            lay(scratch, tape_.operations[change.index], how);
        }
        scratch.resize(size, '\0');
        return scratch;
    }

    std::uint64_t hash_of_base(node_id id) { return nodes_[id].hash_of_base(); }
    bool          is_decided(node_id id) const { return nodes_[id].changes.empty(); }
    bool          is_directory(node_id id) const { return nodes_[id].directory; }

private:
    struct entry
    {
        std::size_t index   = 0;
        bool        durable = false;
    };

    static std::uint64_t sectors_of(const operation& o)
    {
        if (o.bytes == 0) return 0;
        return (o.at + o.bytes - 1) / sector_bytes - o.at / sector_bytes + 1;
    }

    void write(std::size_t index, const operation& o)
    {
        auto& n = nodes_[o.node];
        n.changes.push_back({.index = index, .durable = o.durable, .data = true});
        if (o.at + o.bytes > n.size) {
            n.size = o.at + o.bytes;
            n.changes.push_back({.index = index, .durable = o.durable, .size = n.size});
        }
        changed_.insert(o.node);
        fold(o.node);
    }

    void sync(const operation& o)
    {
        auto& n = nodes_[o.node];
        if (n.directory) {
            for (auto& e : entries_) {
                const auto& was = tape_.operations[e.index];
                const auto  in  = was.what == kind::rename ? was.to_directory : was.directory;
                if (e.index < o.covers && in == o.node) e.durable = true;
            }
            // In the order of time; what is behind something open stays where it is.
            std::size_t          done = 0;
            std::vector<node_id> unnamed;
            for (; done < entries_.size() && entries_[done].durable; ++done) {
                const auto& e = tape_.operations[entries_[done].index];
                if (e.what == kind::remove) unnamed.push_back(e.node);
                if (const auto it = names_.find({e.to_directory, e.to_name});
                    e.what == kind::rename && it != names_.end())
                    unnamed.push_back(it->second);
                change(names_, e);
            }
            entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(done));
            for (const auto id : unnamed) forget_if_unnamed(id);
            return;
        }
        for (auto& c : n.changes)
            if (c.index < o.covers) c.durable = true;
        fold(o.node);
    }

    /// What is durable and has nothing undecided before it becomes the base.
    void fold(node_id id)
    {
        auto&       n    = nodes_[id];
        std::size_t done = 0;
        for (; done < n.changes.size() && n.changes[done].durable; ++done) {
            const auto& c = n.changes[done];
            if (c.data)
                lay(n.base, tape_.operations[c.index], nullptr);
            else
                n.base.resize(c.size, '\0');
        }
        if (done == 0) return;
        n.changes.erase(n.changes.begin(), n.changes.begin() + static_cast<std::ptrdiff_t>(done));
        n.hash_known = false;
        if (n.changes.empty()) changed_.erase(id);
    }

    /// A file without a name in any image needs no content.
    void forget_if_unnamed(node_id id)
    {
        for (const auto& [place, named] : names_)
            if (named == id) return;
        for (const auto& e : entries_)
            if (tape_.operations[e.index].node == id) return;
        auto& n = nodes_[id];
        if (n.directory) return;
        n.base = {};
        n.changes.clear();
        changed_.erase(id);
    }

    void lay(std::string& content, const operation& o, const torn* how) const
    {
        if (how && how->what == torn::shape::none) return;
        const auto    bytes  = o.zeros ? std::string_view{} : tape_.bytes_of(o);
        std::uint64_t sector = 0;
        for (std::uint64_t done = 0; done < o.bytes; ++sector) {
            const auto at = o.at + done;
            auto       n  = std::min(sector_bytes - at % sector_bytes, o.bytes - done);
            if (!how) n = o.bytes;  // all of it at once
            if (!how || how->has(sector)) {
                if (content.size() < at + n) content.resize(at + n, '\0');
                if (o.zeros)
                    std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(at), n, '\0');
                else
                    std::memcpy(content.data() + at, bytes.data() + done, n);
            }
            done += n;
        }
    }

    static void change(names& all, const operation& o)
    {
        if (o.what == kind::remove || o.what == kind::rename) {
            const auto it = all.find({o.directory, o.name});
            if (it != all.end() && it->second == o.node) all.erase(it);
        }
        if (o.what == kind::rename)
            all[{o.to_directory, o.to_name}] = o.node;
        else if (o.what != kind::remove)
            all[{o.directory, o.name}] = o.node;
    }

    bool depends(std::size_t later, std::size_t earlier) const
    {
        const auto& a       = tape_.operations[entries_[later].index];
        const auto& b       = tape_.operations[entries_[earlier].index];
        const auto  touches = [](const operation& o, node_id directory, const std::string& name) {
            return (o.directory == directory && o.name == name) ||
                   (o.what == kind::rename && o.to_directory == directory && o.to_name == name);
        };
        return a.node == b.node || touches(b, a.directory, a.name) ||
               (a.what == kind::rename && touches(b, a.to_directory, a.to_name));
    }

    const recording&        tape_;
    std::vector<node_state> nodes_;
    std::set<node_id>       changed_;  // have changes
    names                   names_;    // durable
    std::vector<entry>      entries_;
};

// ---- Choosing ------------------------------------------------------------------------------

choice all_of(const undecided& u, bool there)
{
    choice c;
    c.writes.assign(u.writes.size(), {there ? torn::shape::whole : torn::shape::none});
    for (const auto& s : u.sizes) c.sizes.push_back(there ? s.count : 0);
    c.entries.assign(u.entries.size(), there ? 1 : 0);
    return c;
}

/// How many there are when nothing is torn; at most `limit` + 1.
std::size_t combinations(const undecided& u, std::size_t limit)
{
    std::size_t n        = 1;
    const auto  multiply = [&](std::size_t by) { n = std::min(n * by, limit + 1); };
    for (std::size_t i = 0; i < u.writes.size(); ++i) multiply(2);
    for (const auto& s : u.sizes) multiply(s.count + 1);
    for (std::size_t i = 0; i < u.entries.size(); ++i) multiply(2);
    return n;
}

choice nth_combination(const undecided& u, std::size_t n)
{
    auto       c    = all_of(u, false);
    const auto take = [&](std::size_t of) {
        const auto digit = n % of;
        n /= of;
        return digit;
    };
    for (auto& w : c.writes)
        if (take(2) != 0) w.what = torn::shape::whole;
    for (std::size_t i = 0; i < u.sizes.size(); ++i) c.sizes[i] = take(u.sizes[i].count + 1);
    for (auto& e : c.entries) e = static_cast<char>(take(2));
    return c;
}

class sampler
{
public:
    explicit sampler(std::uint64_t seed) : random_{seed} {}

    choice sample(const undecided& u)
    {
        const auto style = below(10);
        auto       c     = all_of(u, style != 1 && style != 5 && style != 8);
        const auto n     = u.writes.size();
        if (n > 0) {
            auto& newest = c.writes.back();
            switch (style) {
            case 2:
                newest = {torn::shape::head, below(u.writes.back().sectors + 1), 0};
                break;
            case 3:
                newest = {torn::shape::random, 0, random_()};
                break;
            case 4:
                c.writes[below(n)].what = torn::shape::none;
                break;
            case 5:
                c.writes[below(n)].what = torn::shape::whole;
                break;
            case 6:
                for (auto& w : c.writes) w = any();
                break;
            case 7: {
                const auto kept = below(n + 1);
                for (auto i = kept; i < n; ++i) c.writes[i].what = torn::shape::none;
                if (kept < n) c.writes[kept] = any();
                break;
            }
            case 8:
                newest = any();
                break;
            case 9: {
                const auto i = below(n);
                c.writes[i]  = {below(2) != 0 ? torn::shape::head : torn::shape::tail,
                               below(u.writes[i].sectors + 1), 0};
                break;
            }
            default:
                break;
            }
        }
        if (below(2) != 0)
            for (std::size_t i = 0; i < u.sizes.size(); ++i)
                c.sizes[i] = below(u.sizes[i].count + 1);
        if (below(2) != 0) {
            const auto kept = below(u.entries.size() + 1);
            for (std::size_t i = 0; i < u.entries.size(); ++i)
                c.entries[i] = style % 2 == 0 ? i < kept : below(3) != 0;
        }
        return c;
    }

private:
    std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }

    torn any()
    {
        switch (below(4)) {
        case 0:
            return {torn::shape::none};
        case 1:
            return {torn::shape::random, 0, random_()};
        default:
            return {torn::shape::whole};
        }
    }

    std::mt19937_64 random_;
};

// ---- Images on a (memory) disk -------------------------------------------------------------

struct image_file
{
    node_id          node = 0;
    std::string_view content;
    std::uint64_t    hash = 0;
};

/// Paths relative to the image's directory, parents first.
struct image
{
    std::vector<std::string>                        directories;
    std::vector<std::pair<std::string, image_file>> files;
    std::uint64_t                                   hash = 0;
};

[[noreturn]] void fail(const std::string& doing, const std::string& path)
{
    throw std::runtime_error{"cannot " + doing + " " + path + ": " + std::strerror(errno)};
}

/// Draws an image in an empty directory.
void write_image(const image& i, const std::string& directory)
{
    for (const auto& path : i.directories)
        std::filesystem::create_directory(directory + "/" + path);
    for (const auto& [path, f] : i.files) {
        const auto full = directory + "/" + path;
        const int  fd   = ::open(full.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0) fail("open", full);
        for (std::size_t done = 0; done < f.content.size();) {
            const auto n = ::write(fd, f.content.data() + done, f.content.size() - done);
            if (n <= 0) fail("write", full);
            done += static_cast<std::size_t>(n);
        }
        ::close(fd);
    }
}

/// A directory that becomes one image after the other; only what differs is written.
class canvas
{
public:
    explicit canvas(std::string directory) : directory_{std::move(directory)}
    {
        std::filesystem::create_directories(directory_);
    }
    ~canvas()
    {
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    canvas(const canvas&)            = delete;
    canvas& operator=(const canvas&) = delete;

    const std::string& path() const { return directory_; }

    void show(const image& i)
    {
        std::set<std::string_view> wanted;
        for (const auto& d : i.directories) wanted.insert(d);
        for (const auto& [path, f] : i.files) wanted.insert(path);
        clear(directory_, "", wanted);
        for (const auto& d : i.directories)
            if (::mkdir((directory_ + "/" + d).c_str(), 0755) < 0 && errno != EEXIST)
                fail("make", d);
        for (const auto& [path, f] : i.files) put(path, f);
    }

private:
    struct drawn
    {
        std::string   content;
        std::uint64_t hash  = 0;
        ino_t         inode = 0;
    };

    /// No file of a check's own making has it: tells whether a file was written since put().
    static constexpr timespec long_ago{1, 0};

    void clear(const std::string& at, const std::string& relative,
               const std::set<std::string_view>& wanted)
    {
        DIR* open = ::opendir(at.c_str());
        if (!open) fail("list", at);
        while (const auto* entry = ::readdir(open)) {
            const std::string name = entry->d_name;
            if (name == "." || name == "..") continue;
            const auto path      = relative.empty() ? name : relative + "/" + name;
            const bool directory = entry->d_type == DT_DIR;
            if (directory && wanted.contains(path))
                clear(at + "/" + name, path, wanted);
            else if (directory)
                std::filesystem::remove_all(at + "/" + name);
            else if (!wanted.contains(path))
                ::unlink((at + "/" + name).c_str());
        }
        ::closedir(open);
    }

    void put(const std::string& path, const image_file& f)
    {
        const auto  full = directory_ + "/" + path;
        auto&       was  = drawn_[path];
        struct stat status;
        const bool  there = ::lstat(full.c_str(), &status) == 0;
        const bool  clean = there && status.st_ino == was.inode &&
                           status.st_mtim.tv_sec == long_ago.tv_sec &&
                           status.st_mtim.tv_nsec == long_ago.tv_nsec &&
                           static_cast<std::size_t>(status.st_size) == was.content.size();
        if (clean && was.hash == f.hash && was.content.size() == f.content.size()) return;

        const int fd = ::open(full.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0) fail("open", full);
        if (!clean) {
            if (::ftruncate(fd, 0) < 0) fail("empty", full);
            was.content.clear();
        }
        write_differences(fd, was.content, f.content, full);
        was.content.assign(f.content);
        was.hash = f.hash;
        const std::array<timespec, 2> times{long_ago, long_ago};
        if (::futimens(fd, times.data()) < 0 || ::fstat(fd, &status) < 0) fail("date", full);
        was.inode = status.st_ino;
        ::close(fd);
    }

    static void write_differences(int fd, std::string_view was, std::string_view now,
                                  const std::string& path)
    {
        if (was.size() != now.size() && ::ftruncate(fd, static_cast<off_t>(now.size())) < 0)
            fail("size", path);
        static const std::array<char, block_bytes> zeros{};
        for (std::size_t at = 0; at < now.size(); at += block_bytes) {
            const auto block = now.substr(at, block_bytes);
            auto       old   = at < was.size() ? was.substr(at, block_bytes) : std::string_view{};
            const bool same =
                old.size() == block.size()
                    ? old == block
                    : old.empty() && std::memcmp(block.data(), zeros.data(), block.size()) == 0;
            if (same) continue;
            if (::pwrite(fd, block.data(), block.size(), static_cast<off_t>(at)) !=
                static_cast<ssize_t>(block.size()))
                fail("write", path);
        }
    }

    std::string                            directory_;
    std::unordered_map<std::string, drawn> drawn_;
};

/// Builds images of a disk: the contents live until the next build.
class painter
{
public:
    explicit painter(std::vector<std::string> ignored) : ignored_{std::move(ignored)} {}

    const image& build(disk& d, const undecided& u, const choice& c)
    {
        image_.directories.clear();
        image_.files.clear();
        image_.hash    = 0;
        used_          = 0;
        const auto all = d.names_after(u, c);
        walk(d, u, c, all, 0, "");
        return image_;
    }

private:
    void walk(disk& d, const undecided& u, const choice& c, const names& all, node_id directory,
              const std::string& prefix)
    {
        for (auto it = all.lower_bound({directory, ""});
             it != all.end() && it->first.first == directory; ++it) {
            const auto id   = it->second;
            const auto path = prefix + it->first.second;
            if (std::any_of(ignored_.begin(), ignored_.end(),
                            [&](const auto& end) { return path.ends_with(end); }))
                continue;
            if (d.is_directory(id)) {
                image_.directories.push_back(path);
                image_.hash += mix(hash(path), 0);
                walk(d, u, c, all, id, path + "/");
                continue;
            }
            image_file f{.node = id};
            if (d.is_decided(id)) {
                f.content = d.content(id, u, c, unused_);
                f.hash    = d.hash_of_base(id);
            } else {
                if (used_ == scratch_.size()) scratch_.push_back(std::make_unique<std::string>());
                f.content = d.content(id, u, c, *scratch_[used_++]);
                f.hash    = hash(f.content);
            }
            image_.hash += mix(hash(path), f.hash);
            image_.files.emplace_back(path, f);
        }
    }

    std::vector<std::string>                  ignored_;
    image                                     image_;
    std::vector<std::unique_ptr<std::string>> scratch_;
    std::size_t                               used_ = 0;
    std::string                               unused_;
};

// ---- The process that checks ---------------------------------------------------------------

/// Lives for many checks: starting a process for each would take longer than the check.
class examiner
{
public:
    enum class end {
        verdict,
        died,
        hung,
    };

    examiner(const image_check& check, std::string directory, double patience)
        : check_{check}, directory_{std::move(directory)}, patience_{patience}
    {
    }
    ~examiner() { stop(SIGKILL); }
    examiner(const examiner&)            = delete;
    examiner& operator=(const examiner&) = delete;

    end examine(verdict& v)
    {
        constexpr int checks_max = 5000;  // what a check leaks does not add up for ever
        if (child_ > 0 && checks_ == checks_max) stop(SIGKILL);
        if (child_ < 0) start();
        ++checks_;
        send(ask_, "?", 1);
        switch (wait_for_answer(v)) {
        case end::verdict:
            return end::verdict;
        case end::hung:
            stop(SIGKILL);
            v.problem = "the check did not end within " + std::to_string(patience_) + " s";
            return end::hung;
        case end::died:
            break;
        }
        int status = 0;
        ::waitpid(child_, &status, 0);
        child_ = -1;
        close_pipes();
        v.problem = WIFSIGNALED(status)
                        ? "the check died of signal " + std::to_string(WTERMSIG(status))
                        : "the check's process ended with " + std::to_string(WEXITSTATUS(status));
        return end::died;
    }

private:
    static bool send(int fd, const void* from, std::size_t bytes)
    {
        const auto* at = static_cast<const char*>(from);
        while (bytes > 0) {
            const auto n = ::write(fd, at, bytes);
            if (n <= 0) return false;
            at += n;
            bytes -= static_cast<std::size_t>(n);
        }
        return true;
    }

    static bool receive(int fd, void* to, std::size_t bytes)
    {
        auto* at = static_cast<char*>(to);
        while (bytes > 0) {
            const auto n = ::read(fd, at, bytes);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return false;
            at += n;
            bytes -= static_cast<std::size_t>(n);
        }
        return true;
    }

    void start()
    {
        std::array<int, 2> asks, answers;
        if (::pipe2(asks.data(), O_CLOEXEC) < 0 || ::pipe2(answers.data(), O_CLOEXEC) < 0)
            fail("make a pipe to", "the check");
        child_ = ::fork();
        if (child_ < 0) fail("start", "the check");
        if (child_ == 0) {
            ::signal(SIGPIPE, SIG_DFL);
            for (int s : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGTERM})
                ::signal(s, SIG_DFL);  // the test's framework wants to hear of them; here not
            ::close(asks[1]);
            ::close(answers[0]);
            serve(asks[0], answers[1]);
            ::_exit(0);
        }
        ::close(asks[0]);
        ::close(answers[1]);
        ask_    = asks[1];
        answer_ = answers[0];
        checks_ = 0;
    }

    void serve(int asks, int answers)
    {
        char question;
        while (receive(asks, &question, 1)) {
            verdict v;
            try {
                v = check_(directory_);
            } catch (const std::exception& e) {
                v.problem = e.what();
                if (v.problem.empty()) v.problem = "an exception";
            } catch (...) {
                v.problem = "an unknown exception";
            }
            const std::uint64_t length = v.problem.size();
            if (!send(answers, &v.reached, sizeof v.reached) ||
                !send(answers, &length, sizeof length) ||
                !send(answers, v.problem.data(), v.problem.size()))
                return;
        }
    }

    end wait_for_answer(verdict& v)
    {
        pollfd p{answer_, POLLIN, 0};
        int    ready;
        do ready = ::poll(&p, 1, static_cast<int>(patience_ * 1000));
        while (ready < 0 && errno == EINTR);
        if (ready == 0) return end::hung;
        std::uint64_t length = 0;
        if (!receive(answer_, &v.reached, sizeof v.reached) ||
            !receive(answer_, &length, sizeof length))
            return end::died;
        v.problem.resize(length);
        return receive(answer_, v.problem.data(), length) ? end::verdict : end::died;
    }

    void stop(int signal)
    {
        if (child_ < 0) return;
        ::kill(child_, signal);
        ::waitpid(child_, nullptr, 0);
        child_ = -1;
        close_pipes();
    }

    void close_pipes()
    {
        ::close(std::exchange(ask_, -1));
        ::close(std::exchange(answer_, -1));
    }

    const image_check& check_;
    std::string        directory_;
    double             patience_;
    pid_t              child_  = -1;
    int                ask_    = -1;
    int                answer_ = -1;
    int                checks_ = 0;
};

// ---- All together --------------------------------------------------------------------------

std::string scratch_directory(const std::string& wanted, const char* what)
{
    auto base = wanted;
    if (base.empty())
        base = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                                               : std::filesystem::temp_directory_path().string();
    static int number = 0;
    return base + "/cairn-" + what + "-" + std::to_string(::getpid()) + "-" +
           std::to_string(++number);
}

class enumerator
{
public:
    enumerator(const recording& r, const enumeration_options& o, const image_check& check)
        : tape_{r},
          options_{o},
          canvas_{scratch_directory(o.scratch, "images")},
          painter_{o.ignored},
          examiner_{check, canvas_.path(), o.hang_seconds}
    {
        result_.operations = r.operations.size();
        for (const auto& op : r.operations) {
            if (op.what == kind::write) ++result_.writes;
            if (op.what == kind::sync) ++result_.syncs;
        }
    }

    enumeration run()
    {
        const auto begun = clock::now();
        for (int round = 0, fruitless = 0; !done(begun); ++round) {
            const auto before = result_.states;
            go_through(round, begun);
            // Later rounds may miss what is rare; three that brought nothing are enough.
            fruitless = result_.states == before ? fruitless + 1 : 0;
            if (fruitless == 3) break;
        }
        result_.seconds = seconds_since(begun);
        return result_;
    }

private:
    bool done(clock::time_point begun) const
    {
        return result_.states >= options_.states ||
               (options_.seconds_max > 0 && seconds_since(begun) > options_.seconds_max);
    }

    void go_through(int round, clock::time_point begun)
    {
        disk    d{tape_};
        sampler s{mix(options_.seed, static_cast<std::uint64_t>(round))};
        // Where round after round brought nothing new, there is nothing more.
        constexpr std::uint8_t barren_max = 3;
        barren_.resize(tape_.operations.size() + 1);
        const auto points = static_cast<std::size_t>(
            std::count_if(barren_.begin() + static_cast<std::ptrdiff_t>(options_.from),
                          barren_.end(), [](auto b) { return b < barren_max; }));
        if (points == 0) return;
        const auto share = std::max<std::size_t>(1, (options_.states - result_.states) / points);
        if (round == 0) result_.points = points;
        acknowledged_ = std::numeric_limits<std::int64_t>::min();
        for (std::size_t i = 0; i <= tape_.operations.size() && !done(begun); ++i) {
            if (i > 0) {
                d.apply(i - 1);
                const auto& o = tape_.operations[i - 1];
                if (o.what == kind::mark) acknowledged_ = std::max(acknowledged_, o.value);
            }
            if (i < options_.from || barren_[i] >= barren_max) continue;
            at_               = i;
            const auto before = result_.states;
            cut(d, s, round, share);
            barren_[i] = result_.states > before ? 0 : barren_[i] + 1;
        }
    }

    void cut(disk& d, sampler& s, int round, std::size_t share)
    {
        const auto u     = d.open();
        const auto limit = std::max(options_.exhaustive, share);
        const auto all   = combinations(u, limit);

        auto left = share;
        if (round == 0) {
            if (all <= limit) {
                for (std::size_t n = 0; n < all; ++n) {
                    auto c = nth_combination(u, n);
                    if (!d.make_legal(u, c)) examine(d, u, c);
                }
            } else {
                examine(d, u, all_of(u, true));
                examine(d, u, all_of(u, false));
            }
            left -= std::min<std::size_t>(left, all);
            if (u.writes.empty() && all <= limit) return;
            // Each way in which the newest write may be cut off.
            const auto sectors =
                u.writes.empty() ? 0 : std::min<std::uint64_t>(u.writes.back().sectors, limit);
            for (auto shape : {torn::shape::head, torn::shape::tail})
                for (std::uint64_t n = 1; n < sectors; ++n) {
                    auto c          = all_of(u, true);
                    c.writes.back() = {shape, n, 0};
                    examine(d, u, c);
                }
        }
        if (u.writes.empty() && all <= limit) return;
        for (; left > 0; --left) {
            auto c = s.sample(u);
            d.make_legal(u, c);
            examine(d, u, c);
        }
    }

    void examine(disk& d, const undecided& u, const choice& c)
    {
        const auto& i           = painter_.build(d, u, c);
        const auto [it, is_new] = seen_.try_emplace(i.hash);
        auto& known             = it->second;
        if (is_new) {
            ++result_.states;
            canvas_.show(i);
            verdict v;
            switch (examiner_.examine(v)) {
            case examiner::end::verdict:
                if (!v.problem.empty()) ++result_.corrupt;
                break;
            case examiner::end::died:
                ++result_.signals;
                break;
            case examiner::end::hung:
                ++result_.hangs;
                break;
            }
            known = {v.reached, !v.problem.empty()};
            if (!v.problem.empty()) tell(i, u, c, v.problem);
        }
        if (!known.failed && known.reached < acknowledged_) {
            known.failed = true;  // counted once
            ++result_.lost;
            tell(i, u, c,
                 "mark " + std::to_string(acknowledged_) + " was promised, the image has " +
                     std::to_string(known.reached));
        }
    }

    void tell(const image& i, const undecided& u, const choice& c, const std::string& what)
    {
        constexpr std::size_t failures_max = 5;
        if (result_.failures.size() >= failures_max) return;
        if (result_.failures.empty() && !options_.keep.empty()) {
            std::filesystem::remove_all(options_.keep);
            std::filesystem::create_directories(options_.keep);
            write_image(i, options_.keep);
        }
        std::string text = what + "\n  cut after operation " + std::to_string(at_) + " of " +
                           std::to_string(tape_.operations.size()) + ", seed " +
                           std::to_string(options_.seed) + "; the last were";
        for (auto n = at_ > 6 ? at_ - 6 : 0; n < at_; ++n)
            text += "\n    " + describe(tape_.operations[n]);
        text += "\n  undecided: " + std::to_string(u.writes.size()) + " writes (";
        for (std::size_t n = 0; n < c.writes.size() && n < 20; ++n) {
            static constexpr std::array<const char*, 5> shapes{"no", "yes", "head", "tail", "torn"};
            text +=
                (n ? " " : "") + std::string{shapes[static_cast<std::size_t>(c.writes[n].what)]};
        }
        text += "), " + std::to_string(u.sizes.size()) + " sizes (";
        for (std::size_t n = 0; n < c.sizes.size(); ++n)
            text += (n ? " " : "") + std::to_string(c.sizes[n]) + "/" +
                    std::to_string(u.sizes[n].count);
        text += "), " + std::to_string(u.entries.size()) + " names (";
        for (std::size_t n = 0; n < c.entries.size(); ++n)
            text += (n ? " " : "") + std::string{c.entries[n] ? "yes" : "no"};
        text += ")\n  files:";
        for (const auto& [path, f] : i.files)
            text +=
                " " + path + "=#" + std::to_string(f.node) + ":" + std::to_string(f.content.size());
        result_.failures.push_back(std::move(text));
    }

    struct known_image
    {
        std::int64_t reached = 0;
        bool         failed  = false;
    };

    const recording&                               tape_;
    const enumeration_options&                     options_;
    canvas                                         canvas_;
    painter                                        painter_;
    examiner                                       examiner_;
    std::unordered_map<std::uint64_t, known_image> seen_;
    std::int64_t                                   acknowledged_ = 0;
    std::size_t                                    at_           = 0;
    std::vector<std::uint8_t>                      barren_;  // by point: rounds without news
    enumeration                                    result_;
};

}  // namespace

std::ostream& operator<<(std::ostream& out, const enumeration& e)
{
    out << e.states << " states of " << e.operations << " operations (" << e.writes << " writes, "
        << e.syncs << " syncs) in " << e.seconds << " s: " << e.lost << " lost, " << e.corrupt
        << " corrupt, " << e.signals << " died, " << e.hangs << " hung";
    for (const auto& f : e.failures) out << '\n' << f;
    return out;
}

enumeration enumerate(const recording& r, const enumeration_options& o, const image_check& check)
{
    return enumerator{r, o, check}.run();
}

void make_image(const recording& r, std::size_t operations, std::uint64_t seed,
                const std::string& directory)
{
    disk d{r};
    for (std::size_t i = 0; i < operations && i < r.operations.size(); ++i) d.apply(i);
    const auto u = d.open();
    auto       c = sampler{seed}.sample(u);
    d.make_legal(u, c);
    painter p{{}};
    write_image(p.build(d, u, c), directory);
}

enumeration_options from_environment(enumeration_options o)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    o.states /= 10;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    o.states /= 10;
#endif
#endif
    if (const char* states = std::getenv("CAIRN_CRASH_STATES"))
        o.states = std::strtoull(states, nullptr, 10);
    if (const char* seed = std::getenv("CAIRN_CRASH_SEED"))
        o.seed = std::strtoull(seed, nullptr, 10);
    if (const char* keep = std::getenv("CAIRN_CRASH_KEEP")) o.keep = keep;
    return o;
}

}  // namespace cairn::testing
