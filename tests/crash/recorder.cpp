// SPDX-License-Identifier: Apache-2.0
#include "recorder.hpp"

#include "faults.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::testing {

namespace {

constexpr std::size_t sector_bytes = 512;

// The system calls themselves. Not through libc: a sanitizer may stand in between, and
// dlsym(RTLD_NEXT) allocates.
template <class... Arguments>
long raw(long number, Arguments... arguments)
{
    return ::syscall(number, arguments...);
}

// Both are off most of the time; then the calls below cost one load.
std::atomic<bool> recording_on{false};
std::atomic<bool> fault_on{false};

std::string path_of_descriptor(int fd)
{
    std::array<char, PATH_MAX> path;
    const auto                 link = "/proc/self/fd/" + std::to_string(fd);
    const auto                 n    = raw(SYS_readlink, link.c_str(), path.data(), path.size());
    return n < 0 ? std::string{} : std::string{path.data(), static_cast<std::size_t>(n)};
}

/// Absolute, with all of it resolved but the last name.
std::string resolve(int directory, const char* path)
{
    std::string full = path;
    if (full.empty() || full.front() != '/') {
        std::array<char, PATH_MAX> here;
        if (directory == AT_FDCWD)
            full = std::string{raw(SYS_getcwd, here.data(), here.size()) > 0 ? here.data() : ""} +
                   "/" + full;
        else
            full = path_of_descriptor(directory) + "/" + full;
    }
    while (full.size() > 1 && full.back() == '/') full.pop_back();
    const auto slash  = full.rfind('/');
    const auto parent = slash == 0 ? std::string{"/"} : full.substr(0, slash);
    const long fd     = raw(SYS_openat, AT_FDCWD, parent.c_str(), O_PATH | O_CLOEXEC, 0);
    if (fd < 0) return full;
    auto resolved = path_of_descriptor(static_cast<int>(fd));
    raw(SYS_close, fd);
    if (resolved == "/") resolved.clear();
    return resolved + full.substr(slash);
}

/// Keeps errno over what the recorder itself does.
struct keep_errno
{
    int was = errno;
    ~keep_errno() { errno = was; }
};

// ---- Faults --------------------------------------------------------------------------------

struct armed_fault
{
    std::mutex       mutex;
    fault            what;
    std::atomic<int> calls{0};
    std::atomic<int> hits{0};
};
armed_fault armed;

template <class Path>
std::optional<fault> find_fault(fault::call where, Path path, int flags = 0)
{
    if (!fault_on.load(std::memory_order_acquire)) return std::nullopt;
    const keep_errno      keep;
    const std::lock_guard lock{armed.mutex};
    const auto&           f = armed.what;
    if (f.where != where && f.where != fault::call::any) return std::nullopt;
    if (f.flags != 0 && (flags & f.flags) != f.flags) return std::nullopt;
    if (!f.path.empty() && std::string{path()}.find(f.path) == std::string::npos)
        return std::nullopt;
    const int n = ++armed.calls;
    if (f.nth == 0 || n < f.nth || (f.count >= 0 && n >= f.nth + f.count)) return std::nullopt;
    ++armed.hits;
    return f;
}

/// True (and errno is set) where the call has to fail without doing anything.
template <class Path>
bool fails(fault::call where, Path path, int flags = 0)
{
    const auto f = find_fault(where, path, flags);
    if (f) errno = f->error;
    return f.has_value();
}

// ---- Recording -----------------------------------------------------------------------------

class watcher
{
public:
    std::mutex mutex;

    void start(const std::string& directory)
    {
        const auto fd = raw(SYS_openat, AT_FDCWD, directory.c_str(), O_PATH | O_CLOEXEC, 0);
        if (fd < 0) throw std::runtime_error{"no directory to watch: " + directory};
        root_ = path_of_descriptor(static_cast<int>(fd));
        struct stat status;
        ::fstat(static_cast<int>(fd), &status);
        raw(SYS_close, fd);

        tape_ = {};
        nodes_.clear();
        directories_.clear();
        nodes_[key(status)] = 0;
        directories_[root_] = 0;
        scan(root_, 0);
    }

    recording stop()
    {
        nodes_.clear();
        directories_.clear();
        return std::exchange(tape_, {});
    }

    /// The inode of a file that is about to lose its last name may be given to another file.
    void forget(const std::string& path)
    {
        struct stat status;
        if (::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink == 1)
            nodes_.erase(key(status));
    }

    /// The node of an open file, if it lies below the directory.
    std::optional<node_id> find(int fd)
    {
        struct stat status;
        if (::fstat(fd, &status) < 0) return std::nullopt;
        if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) return std::nullopt;
        if (const auto it = nodes_.find(key(status)); it != nodes_.end()) return it->second;
        if (status.st_nlink == 0) return std::nullopt;
        // Made by a way that is not seen, fopen() say. Then it begins here, empty.
        return S_ISREG(status.st_mode) ? made(fd, path_of_descriptor(fd)) : std::nullopt;
    }

    std::optional<node_id> find(const std::string& path)
    {
        struct stat status;
        if (::lstat(path.c_str(), &status) < 0) return std::nullopt;
        const auto it = nodes_.find(key(status));
        if (it == nodes_.end()) return std::nullopt;
        return it->second;
    }

    struct place
    {
        node_id     directory;
        std::string name;
    };

    std::optional<place> find_place(const std::string& path) const
    {
        const auto slash = path.rfind('/');
        if (slash == std::string::npos) return std::nullopt;
        const auto it = directories_.find(path.substr(0, slash));
        if (it == directories_.end()) return std::nullopt;
        return place{it->second, path.substr(slash + 1)};
    }

    std::optional<node_id> made(int fd, const std::string& path)
    {
        const auto where = find_place(path);
        if (!where) return std::nullopt;
        struct stat status;
        if (::fstat(fd, &status) < 0) return std::nullopt;
        return add(operation::kind::make_file, *where, status);
    }

    void made_directory(const std::string& path)
    {
        struct stat status;
        const auto  where = find_place(path);
        if (!where || ::lstat(path.c_str(), &status) < 0) return;
        directories_[path] = add(operation::kind::make_directory, *where, status);
    }

    void wrote(node_id node, std::uint64_t at, const iovec* pieces, int count, std::size_t bytes,
               bool durable)
    {
        operation o{.what    = operation::kind::write,
                    .durable = durable,
                    .node    = node,
                    .at      = at,
                    .bytes   = bytes,
                    .data    = tape_.data.size()};
        auto      left = bytes;
        for (int i = 0; i < count && left > 0; ++i) {
            const auto n = std::min(left, pieces[i].iov_len);
            tape_.data.append(static_cast<const char*>(pieces[i].iov_base), n);
            left -= n;
        }
        const bool zeros = std::all_of(tape_.data.begin() + static_cast<std::ptrdiff_t>(o.data),
                                       tape_.data.end(), [](char c) { return c == '\0'; });
        if (zeros) {
            tape_.data.resize(o.data);
            o.zeros = true;
        }
        tape_.operations.push_back(std::move(o));
    }

    void resized(node_id node, std::uint64_t bytes)
    {
        tape_.operations.push_back({.what = operation::kind::resize, .node = node, .bytes = bytes});
    }

    void linked(node_id node, const place& to)
    {
        tape_.operations.push_back({.what      = operation::kind::link,
                                    .node      = node,
                                    .directory = to.directory,
                                    .name      = to.name});
    }

    void renamed(node_id node, const std::string& from_path, const place& from,
                 const std::string& to_path, const place& to)
    {
        tape_.operations.push_back({.what         = operation::kind::rename,
                                    .node         = node,
                                    .directory    = from.directory,
                                    .to_directory = to.directory,
                                    .name         = from.name,
                                    .to_name      = to.name});
        if (const auto it = directories_.find(from_path); it != directories_.end()) {
            std::map<std::string, node_id> moved;
            for (const auto& [path, id] : directories_)
                if (path == from_path || path.starts_with(from_path + "/"))
                    moved[to_path + path.substr(from_path.size())] = id;
                else
                    moved[path] = id;
            directories_ = std::move(moved);
        }
    }

    void removed(node_id node, const std::string& path, const place& from)
    {
        tape_.operations.push_back({.what      = operation::kind::remove,
                                    .node      = node,
                                    .directory = from.directory,
                                    .name      = from.name});
        directories_.erase(path);
    }

    void synced(node_id node, std::size_t covers)
    {
        tape_.operations.push_back({.what = operation::kind::sync, .node = node, .covers = covers});
    }

    void mark(std::int64_t value)
    {
        tape_.operations.push_back({.what = operation::kind::mark, .value = value});
    }

    std::size_t length() const { return tape_.operations.size(); }

private:
    using file_key = std::pair<dev_t, ino_t>;

    static file_key key(const struct stat& status) { return {status.st_dev, status.st_ino}; }

    node_id add(operation::kind what, const place& where, const struct stat& status)
    {
        // A number of a file that is gone may be given again: the newest counts.
        const auto id = nodes_[key(status)] = tape_.nodes++;
        tape_.operations.push_back(
            {.what = what, .node = id, .directory = where.directory, .name = where.name});
        return id;
    }

    void scan(const std::string& path, node_id parent)
    {
        DIR* open = ::opendir(path.c_str());
        if (!open) throw std::runtime_error{"cannot list " + path};
        while (const auto* entry = ::readdir(open)) {
            const std::string name = entry->d_name;
            if (name == "." || name == "..") continue;
            const auto  full = path + "/" + name;
            struct stat status;
            if (::lstat(full.c_str(), &status) < 0) continue;
            recording::start_node n{.node      = tape_.nodes++,
                                    .parent    = parent,
                                    .directory = S_ISDIR(status.st_mode),
                                    .name      = name,
                                    .content   = {}};
            nodes_[key(status)] = n.node;
            if (n.directory) {
                directories_[full] = n.node;
            } else if (const int fd = ::open(full.c_str(), O_RDONLY | O_CLOEXEC); fd >= 0) {
                n.content.resize(static_cast<std::size_t>(status.st_size));
                for (std::size_t done = 0; done < n.content.size();) {
                    const auto got = ::pread(fd, n.content.data() + done, n.content.size() - done,
                                             static_cast<off_t>(done));
                    if (got <= 0) break;
                    done += static_cast<std::size_t>(got);
                }
                raw(SYS_close, fd);
            }
            const auto id           = n.node;
            const bool is_directory = n.directory;
            tape_.start.push_back(std::move(n));
            if (is_directory) scan(full, id);
        }
        ::closedir(open);
    }

    std::string                    root_;
    recording                      tape_;
    std::map<file_key, node_id>    nodes_;
    std::map<std::string, node_id> directories_;
};

watcher& the_watcher()
{
    static auto* const one = new watcher;  // outlives whatever runs at exit
    return *one;
}

/// The watcher, locked; nothing where nothing is recorded.
class watching
{
public:
    watching()
    {
        if (!recording_on.load(std::memory_order_acquire)) return;
        lock_ = std::unique_lock{the_watcher().mutex};
        if (!recording_on.load(std::memory_order_acquire)) lock_.unlock();
    }
    explicit operator bool() const { return lock_.owns_lock(); }
    watcher* operator->() const { return &the_watcher(); }

private:
    std::unique_lock<std::mutex> lock_;
};

// ---- The calls -----------------------------------------------------------------------------

int do_open(int directory, const char* path, int flags, mode_t mode)
{
    if (fails(
            fault::call::open, [&] { return path; }, flags))
        return -1;
    watching   w;
    const bool makes = w && (flags & O_CREAT) != 0;
    bool       there = true;
    off_t      size  = 0;
    if (w && (flags & (O_CREAT | O_TRUNC)) != 0) {
        struct stat status;
        there = ::fstatat(directory, path, &status, 0) == 0;
        if (there) size = status.st_size;
    }
    const auto fd = static_cast<int>(raw(SYS_openat, directory, path, flags, mode));
    if (fd < 0 || !w) return fd;

    const keep_errno keep;
    if (makes && !there)
        w->made(fd, path_of_descriptor(fd));
    else if ((flags & O_TRUNC) != 0 && size > 0)
        if (const auto node = w->find(fd)) w->resized(*node, 0);
    return fd;
}

std::size_t total(const iovec* pieces, int count)
{
    std::size_t bytes = 0;
    for (int i = 0; i < count; ++i) bytes += pieces[i].iov_len;
    return bytes;
}

/// `at` < 0: where the file stands.
ssize_t do_write(int fd, const iovec* pieces, int count, off_t at)
{
    const auto f = find_fault(fault::call::write, [&] { return path_of_descriptor(fd); });
    if (f && f->how == fault::way::fail) {
        errno = f->error;
        return -1;
    }
    std::vector<iovec> half;
    if (f) {
        // A disk writes whole sectors.
        auto left = total(pieces, count) / 2 / sector_bytes * sector_bytes;
        if (left == 0 && f->how == fault::way::brief) left = total(pieces, count);
        for (int i = 0; i < count && left > 0; ++i) {
            half.push_back({pieces[i].iov_base, std::min(left, pieces[i].iov_len)});
            left -= half.back().iov_len;
        }
        pieces = half.data();
        count  = static_cast<int>(half.size());
    }
    watching   w;
    const auto n = count == 0 ? 0
                   : at < 0   ? raw(SYS_writev, fd, pieces, count)
                              : raw(SYS_pwritev, fd, pieces, count, at, 0);
    if (w && n > 0) {
        const keep_errno keep;
        if (const auto node = w->find(fd)) {
            if (at < 0) at = ::lseek(fd, 0, SEEK_CUR) - n;
            const bool durable = (::fcntl(fd, F_GETFL) & O_DSYNC) != 0;
            w->wrote(*node, static_cast<std::uint64_t>(at), pieces, count,
                     static_cast<std::size_t>(n), durable);
        }
    }
    if (f && f->how == fault::way::torn) {
        errno = f->error;
        return -1;
    }
    return n;
}

ssize_t do_write(int fd, const void* from, std::size_t bytes, off_t at)
{
    const iovec piece{const_cast<void*>(from), bytes};
    return do_write(fd, &piece, 1, at);
}

int do_sync(int fd, long number)
{
    if (fails(fault::call::sync, [&] { return path_of_descriptor(fd); })) return -1;
    std::optional<node_id> node;
    std::size_t            covers = 0;
    if (watching w; w) {
        const keep_errno keep;
        node   = w->find(fd);
        covers = w->length();
    }
    const auto result = static_cast<int>(raw(number, fd));
    if (result == 0 && node) {
        const keep_errno keep;
        if (watching w; w) w->synced(*node, covers);
    }
    return result;
}

template <class Call>
int do_resize(int fd, std::uint64_t bytes, bool only_grows, Call call)
{
    if (fails(fault::call::resize, [&] { return path_of_descriptor(fd); })) return -1;
    watching   w;
    const auto result = static_cast<int>(call());
    if (result == 0 && w) {
        const keep_errno keep;
        struct stat      status;
        // After the call a size that did not come from it was there before.
        const bool grew =
            ::fstat(fd, &status) == 0 && static_cast<std::uint64_t>(status.st_size) == bytes;
        if (const auto node = w->find(fd); node && (grew || !only_grows)) w->resized(*node, bytes);
    }
    return result;
}

int do_rename(int from_directory, const char* from, int to_directory, const char* to,
              unsigned flags)
{
    if (fails(fault::call::rename, [&] { return from; })) return -1;
    watching                      w;
    std::string                   from_path, to_path;
    std::optional<node_id>        node;
    std::optional<watcher::place> from_place, to_place;
    if (w) {
        const keep_errno keep;
        from_path  = resolve(from_directory, from);
        to_path    = resolve(to_directory, to);
        node       = w->find(from_path);
        from_place = w->find_place(from_path);
        to_place   = w->find_place(to_path);
        if (from_path != to_path) w->forget(to_path);
    }
    const auto result =
        static_cast<int>(raw(SYS_renameat2, from_directory, from, to_directory, to, flags));
    if (result == 0 && w && node && from_place && to_place)
        w->renamed(*node, from_path, *from_place, to_path, *to_place);
    return result;
}

int do_remove(int directory, const char* path, int flags)
{
    if (fails(fault::call::remove, [&] { return path; })) return -1;
    watching                      w;
    std::string                   full;
    std::optional<node_id>        node;
    std::optional<watcher::place> where;
    if (w) {
        const keep_errno keep;
        full  = resolve(directory, path);
        node  = w->find(full);
        where = w->find_place(full);
        w->forget(full);
    }
    const auto result = static_cast<int>(raw(SYS_unlinkat, directory, path, flags));
    if (result == 0 && w && node && where) w->removed(*node, full, *where);
    return result;
}

}  // namespace

// ---- The interface -------------------------------------------------------------------------

std::string describe(const operation& o)
{
    using kind      = operation::kind;
    const auto node = "#" + std::to_string(o.node);
    const auto name = "#" + std::to_string(o.directory) + "/" + o.name;
    switch (o.what) {
    case kind::write:
        return std::string{o.durable ? "durable write " : "write "} + std::to_string(o.bytes) +
               (o.zeros ? " zeros at " : " bytes at ") + std::to_string(o.at) + " of " + node;
    case kind::resize:
        return "resize " + node + " to " + std::to_string(o.bytes);
    case kind::sync:
        return "sync " + node;
    case kind::make_file:
        return "make file " + node + " as " + name;
    case kind::make_directory:
        return "make directory " + node + " as " + name;
    case kind::link:
        return "link " + node + " as " + name;
    case kind::rename:
        return "rename " + node + " from " + name + " to #" + std::to_string(o.to_directory) + "/" +
               o.to_name;
    case kind::remove:
        return "remove " + node + ", " + name;
    case kind::mark:
        return "mark " + std::to_string(o.value);
    }
    return {};
}

recorder::recorder(const std::string& directory)
{
    const std::lock_guard lock{the_watcher().mutex};
    if (recording_on) throw std::logic_error{"one recorder at a time"};
    the_watcher().start(directory);
    recording_on = true;
}

recorder::~recorder()
{
    stop();
}

void recorder::mark(std::int64_t value)
{
    if (watching w; w) w->mark(value);
}

recording recorder::stop()
{
    const std::lock_guard lock{the_watcher().mutex};
    recording_on = false;
    return the_watcher().stop();
}

fault_injection::fault_injection(fault f)
{
    const std::lock_guard lock{armed.mutex};
    if (fault_on) throw std::logic_error{"one fault at a time"};
    armed.what  = std::move(f);
    armed.calls = 0;
    armed.hits  = 0;
    fault_on    = true;
}

fault_injection::~fault_injection()
{
    fault_on = false;
}

int fault_injection::calls() const
{
    return armed.calls;
}

int fault_injection::hits() const
{
    return armed.hits;
}

}  // namespace cairn::testing

// ---- libc's names --------------------------------------------------------------------------
//
// Both spellings of each call, since libraries were compiled with either.

using namespace cairn::testing;

namespace {

mode_t mode_argument(int flags, va_list arguments)
{
    const bool has_mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    return has_mode ? static_cast<mode_t>(va_arg(arguments, int)) : 0;
}

}  // namespace

extern "C" {

#define OPEN(name)                                         \
    int name(const char* path, int flags, ...)             \
    {                                                      \
        va_list arguments;                                 \
        va_start(arguments, flags);                        \
        const auto mode = mode_argument(flags, arguments); \
        va_end(arguments);                                 \
        return do_open(AT_FDCWD, path, flags, mode);       \
    }
#define OPENAT(name)                                          \
    int name(int directory, const char* path, int flags, ...) \
    {                                                         \
        va_list arguments;                                    \
        va_start(arguments, flags);                           \
        const auto mode = mode_argument(flags, arguments);    \
        va_end(arguments);                                    \
        return do_open(directory, path, flags, mode);         \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
#undef OPEN
#undef OPENAT

int creat(const char* path, mode_t mode)
{
    return do_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}
int creat64(const char* path, mode_t mode)
{
    return do_open(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

ssize_t write(int fd, const void* from, size_t bytes)
{
    if (!recording_on && !fault_on) return raw(SYS_write, fd, from, bytes);
    return do_write(fd, from, bytes, -1);
}
ssize_t writev(int fd, const iovec* pieces, int count)
{
    return do_write(fd, pieces, count, -1);
}
ssize_t pwrite(int fd, const void* from, size_t bytes, off_t at)
{
    return do_write(fd, from, bytes, at);
}
ssize_t pwrite64(int fd, const void* from, size_t bytes, off64_t at)
{
    return do_write(fd, from, bytes, at);
}
ssize_t pwritev(int fd, const iovec* pieces, int count, off_t at)
{
    return do_write(fd, pieces, count, at);
}
ssize_t pwritev64(int fd, const iovec* pieces, int count, off64_t at)
{
    return do_write(fd, pieces, count, at);
}

ssize_t pread(int fd, void* to, size_t bytes, off_t at)
{
    if (fails(fault::call::read, [&] { return path_of_descriptor(fd); })) return -1;
    return raw(SYS_pread64, fd, to, bytes, at);
}
ssize_t pread64(int fd, void* to, size_t bytes, off64_t at)
{
    if (fails(fault::call::read, [&] { return path_of_descriptor(fd); })) return -1;
    return raw(SYS_pread64, fd, to, bytes, at);
}

int fsync(int fd)
{
    return do_sync(fd, SYS_fsync);
}
int fdatasync(int fd)
{
    return do_sync(fd, SYS_fdatasync);
}

// Neither makes anything durable that was recorded: writes to maps are not, and
// sync_file_range() flushes neither metadata nor the disk's cache.
int msync(void* at, size_t bytes, int flags)
{
    if (fails(fault::call::sync, [] { return ""; })) return -1;
    return static_cast<int>(raw(SYS_msync, at, bytes, flags));
}
int sync_file_range(int fd, off64_t from, off64_t bytes, unsigned flags)
{
    return static_cast<int>(raw(SYS_sync_file_range, fd, from, bytes, flags));
}

int ftruncate(int fd, off_t bytes) noexcept
{
    return do_resize(fd, static_cast<std::uint64_t>(bytes), false,
                     [&] { return raw(SYS_ftruncate, fd, bytes); });
}
int ftruncate64(int fd, off64_t bytes) noexcept
{
    return ftruncate(fd, bytes);
}
int truncate(const char* path, off_t bytes) noexcept
{
    const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    const int        result = ::ftruncate(fd, bytes);
    const keep_errno keep;
    ::close(fd);
    return result;
}
int truncate64(const char* path, off64_t bytes) noexcept
{
    return truncate(path, bytes);
}

int fallocate(int fd, int mode, off_t from, off_t bytes)
{
    if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0) {  // what changes the content is not modelled
        errno = EOPNOTSUPP;
        return -1;
    }
    // Room that is only reserved shows nowhere, but in memory it is zeroed page by page: that
    // took most of the time of checking an image.
    if (mode != 0)
        return fails(fault::call::resize, [&] { return path_of_descriptor(fd); }) ? -1 : 0;
    return do_resize(fd, static_cast<std::uint64_t>(from + bytes), true,
                     [&] { return raw(SYS_fallocate, fd, mode, from, bytes); });
}
int fallocate64(int fd, int mode, off64_t from, off64_t bytes)
{
    return fallocate(fd, mode, from, bytes);
}
int posix_fallocate(int fd, off_t from, off_t bytes)
{
    const keep_errno keep;
    return fallocate(fd, 0, from, bytes) == 0 ? 0 : errno;
}
int posix_fallocate64(int fd, off64_t from, off64_t bytes)
{
    return posix_fallocate(fd, from, bytes);
}

int rename(const char* from, const char* to) noexcept
{
    return do_rename(AT_FDCWD, from, AT_FDCWD, to, 0);
}
int renameat(int from_directory, const char* from, int to_directory, const char* to) noexcept
{
    return do_rename(from_directory, from, to_directory, to, 0);
}
int renameat2(int from_directory, const char* from, int to_directory, const char* to,
              unsigned flags) noexcept
{
    return do_rename(from_directory, from, to_directory, to, flags);
}

int unlink(const char* path) noexcept
{
    return do_remove(AT_FDCWD, path, 0);
}
int unlinkat(int directory, const char* path, int flags) noexcept
{
    return do_remove(directory, path, flags);
}
int rmdir(const char* path) noexcept
{
    return do_remove(AT_FDCWD, path, AT_REMOVEDIR);
}
int remove(const char* path) noexcept
{
    if (do_remove(AT_FDCWD, path, 0) == 0) return 0;
    return errno == EISDIR || errno == EPERM ? do_remove(AT_FDCWD, path, AT_REMOVEDIR) : -1;
}

int mkdir(const char* path, mode_t mode) noexcept
{
    watching   w;
    const auto result = static_cast<int>(raw(SYS_mkdirat, AT_FDCWD, path, mode));
    if (result == 0 && w) w->made_directory(resolve(AT_FDCWD, path));
    return result;
}
int mkdirat(int directory, const char* path, mode_t mode) noexcept
{
    watching   w;
    const auto result = static_cast<int>(raw(SYS_mkdirat, directory, path, mode));
    if (result == 0 && w) w->made_directory(resolve(directory, path));
    return result;
}

int linkat(int from_directory, const char* from, int to_directory, const char* to,
           int flags) noexcept
{
    watching   w;
    const auto result =
        static_cast<int>(raw(SYS_linkat, from_directory, from, to_directory, to, flags));
    if (result == 0 && w) {
        const keep_errno keep;
        const auto       node  = w->find(resolve(from_directory, from));
        const auto       place = w->find_place(resolve(to_directory, to));
        if (node && place) w->linked(*node, *place);
    }
    return result;
}
int link(const char* from, const char* to) noexcept
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

void* mmap(void* at, size_t bytes, int protection, int flags, int fd, off_t from) noexcept
{
    if (fd >= 0 && fails(fault::call::map, [&] { return path_of_descriptor(fd); }))
        return MAP_FAILED;
    return reinterpret_cast<void*>(raw(SYS_mmap, at, bytes, protection, flags, fd, from));
}
void* mmap64(void* at, size_t bytes, int protection, int flags, int fd, off64_t from) noexcept
{
    return mmap(at, bytes, protection, flags, fd, from);
}

}  // extern "C"
