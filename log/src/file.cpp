// SPDX-License-Identifier: Apache-2.0
#include "file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>
#include <utility>

namespace cairn::detail {

namespace {

constexpr std::size_t pieces_per_call = 64;

/// Repeats a system call that a signal interrupted.
template <class Call>
auto uninterrupted(Call call)
{
    auto result = call();
    while (result < 0 && errno == EINTR) result = call();
    return result;
}

std::string_view what_to_do_next(int error_number) noexcept
{
    switch (error_number) {
    case ENOSPC:
    case EDQUOT:
        return "free some space on this disk: appending goes on by itself when there is room, "
               "and nothing that was acknowledged is lost";
    case EFBIG:
        return "raise the limit of file sizes (ulimit -f)";
    case EACCES:
    case EPERM:
    case EROFS:
        return "let this user read and write the directory, or open it read-only";
    case ENOMEM:
        return "give the process more memory, or use less of it elsewhere";
    case EMFILE:
    case ENFILE:
        return "raise the limit of open files (ulimit -n)";
    case ENOENT:
    case ENOTDIR:
        return "see whether something else moved or removed it";
    default:
        return "look at the disk (dmesg, smartctl) and open the log again";
    }
}

int open_flags(file::access how) noexcept
{
    switch (how) {
    case file::access::read:
        return O_RDONLY;
    case file::access::write:
        return O_RDWR;
    case file::access::create:
        return O_RDWR | O_CREAT;
    case file::access::create_new:
        return O_RDWR | O_CREAT | O_EXCL;
    case file::access::truncate:
        return O_RDWR | O_CREAT | O_TRUNC;
    }
    return O_RDONLY;
}

int open_descriptor(const std::string& path, int flags)
{
    return uninterrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0644); });
}

[[noreturn]] void throw_transfer_error(int error_number, std::string_view doing, std::size_t bytes,
                                       std::uint64_t at, const std::string& path)
{
    throw_io_error(error_number,
                   std::string{doing} + " " + std::to_string(bytes) + " bytes at byte " +
                       std::to_string(at) + " of",
                   path);
}

}  // namespace

errc errc_of(int error_number) noexcept
{
    switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return errc::disk_full;
    case EACCES:
    case EPERM:
    case EROFS:
        return errc::not_writable;
    case ENOMEM:
        return errc::out_of_memory;
    default:
        return errc::io_failed;
    }
}

void throw_io_error(int error_number, std::string_view doing, const std::string& path)
{
    std::string what = "cannot ";
    what += doing;
    what += ' ';
    what += path;
    what += ": ";
    what += std::generic_category().message(error_number);
    what += " (errno " + std::to_string(error_number) + "); ";
    what += what_to_do_next(error_number);
    throw storage_error{errc_of(error_number), what};
}

file::file(std::string path, access how) : path_{std::move(path)}
{
    fd_ = open_descriptor(path_, open_flags(how));
    if (fd_ < 0) throw_io_error(errno, how == access::read ? "read" : "open for writing", path_);
}

file::~file()
{
    close();
}

file::file(file&& other) noexcept : fd_{std::exchange(other.fd_, -1)}, path_{std::move(other.path_)}
{
}

file& file::operator=(file&& other) noexcept
{
    if (this != &other) {
        close();
        fd_   = std::exchange(other.fd_, -1);
        path_ = std::move(other.path_);
    }
    return *this;
}

std::optional<file> file::try_open(std::string path, access how)
{
    file opened;
    opened.path_ = std::move(path);
    opened.fd_   = open_descriptor(opened.path_, open_flags(how));
    if (opened.fd_ < 0) {
        if (errno == ENOENT) return std::nullopt;
        throw_io_error(errno, how == access::read ? "read" : "open for writing", opened.path_);
    }
    return opened;
}

std::uint64_t file::size() const
{
    struct stat status;
    if (::fstat(fd_, &status) < 0) throw_io_error(errno, "find the size of", path_);
    return static_cast<std::uint64_t>(status.st_size);
}

void file::write_at(std::uint64_t at, bytes_view bytes)
{
    while (!bytes.empty()) {
        auto n = uninterrupted(
            [&] { return ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at)); });
        if (n < 0) throw_transfer_error(errno, "write", bytes.size(), at, path_);
        // A disk that takes nothing and gives no reason would be an endless loop.
        if (n == 0) throw_transfer_error(EIO, "write", bytes.size(), at, path_);
        bytes.remove_prefix(static_cast<std::size_t>(n));
        at += static_cast<std::uint64_t>(n);
    }
}

void file::write_at(std::uint64_t at, std::span<const bytes_view> pieces)
{
    std::array<iovec, pieces_per_call> vectors;  // NOLINT: filled below, as far as it is used

    std::size_t done = 0;  // bytes of pieces.front() that are written
    while (!pieces.empty()) {
        std::size_t count = 0;
        std::size_t bytes = 0;
        for (auto piece : pieces.first(std::min(pieces.size(), pieces_per_call))) {
            if (count == 0) piece.remove_prefix(done);
            vectors[count++] = {const_cast<char*>(piece.data()), piece.size()};
            bytes += piece.size();
        }
        auto n = bytes == 0 ? 0 : uninterrupted([&] {
            return ::pwritev(fd_, vectors.data(), static_cast<int>(count), static_cast<off_t>(at));
        });
        if (n < 0) throw_transfer_error(errno, "write", bytes, at, path_);
        if (n == 0 && bytes != 0) throw_transfer_error(EIO, "write", bytes, at, path_);
        at += static_cast<std::uint64_t>(n);

        auto written = static_cast<std::size_t>(n) + done;
        while (!pieces.empty() && written >= pieces.front().size()) {
            written -= pieces.front().size();
            pieces = pieces.subspan(1);
            if (--count == 0) break;
        }
        done = written;
    }
}

void file::write_blocks(std::uint64_t at, bytes_view bytes, std::size_t block_bytes)
{
    constexpr int fruitless_max = 16;
    for (int fruitless = 0; !bytes.empty();) {
        auto n = uninterrupted(
            [&] { return ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(at)); });
        if (n < 0) throw_transfer_error(errno, "write", bytes.size(), at, path_);
        auto whole = static_cast<std::size_t>(n) / block_bytes * block_bytes;
        if (whole == 0 && ++fruitless == fruitless_max)
            throw_transfer_error(EIO, "write", bytes.size(), at, path_);
        bytes.remove_prefix(whole);
        at += whole;
    }
}

std::size_t file::read_at(std::uint64_t at, char* to, std::size_t bytes) const
{
    std::size_t done = 0;
    while (done < bytes) {
        auto n = uninterrupted(
            [&] { return ::pread(fd_, to + done, bytes - done, static_cast<off_t>(at + done)); });
        if (n < 0) throw_transfer_error(errno, "read", bytes, at, path_);
        if (n == 0) break;
        done += static_cast<std::size_t>(n);
    }
    return done;
}

void file::sync_data()
{
    if (uninterrupted([&] { return ::fdatasync(fd_); }) < 0)
        throw_io_error(errno, "make durable", path_);
}

void file::sync()
{
    if (uninterrupted([&] { return ::fsync(fd_); }) < 0)
        throw_io_error(errno, "make durable", path_);
}

void file::truncate(std::uint64_t bytes)
{
    if (uninterrupted([&] { return ::ftruncate(fd_, static_cast<off_t>(bytes)); }) < 0)
        throw_io_error(errno, "set the size of", path_);
}

void file::fill_with_zeros(std::uint64_t from, std::uint64_t to)
{
    // Not const, so that it takes no room in the program: only addresses, never written.
    alignas(4096) static std::array<char, 1 << 20> zeros;
    while (from < to) {
        auto n = std::min<std::uint64_t>(to - from, zeros.size());
        write_blocks(from, bytes_view{zeros.data(), n}, 1);
        from += n;
    }
}

bool file::set_direct(bool on) noexcept
{
    int flags = ::fcntl(fd_, F_GETFL);
    if (flags < 0) return false;
    return ::fcntl(fd_, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

void file::rename(const std::string& to)
{
    rename_file(path_, to);
    path_ = to;
}

void file::close() noexcept
{
    // Never repeated: on Linux the descriptor is gone even where close() was interrupted.
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

file_map::file_map(const std::string& path, pattern use)
    : file_map{file{path, file::access::read}, use}
{
}

file_map::file_map(const file& f, pattern use)
{
    size_ = f.size();
    if (size_ == 0) return;
    auto* at = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, f.fd(), 0);
    if (at == MAP_FAILED) {
        size_ = 0;
        throw_io_error(errno, "map", f.path());
    }
    data_ = static_cast<char*>(at);
    if (use != pattern::normal) advise(use);
}

file_map::~file_map()
{
    if (data_) ::munmap(data_, size_);
}

file_map::file_map(file_map&& other) noexcept
    : data_{std::exchange(other.data_, nullptr)}, size_{std::exchange(other.size_, 0)}
{
}

file_map& file_map::operator=(file_map&& other) noexcept
{
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

void file_map::advise(pattern use) const noexcept
{
    if (!data_) return;
    int advice = use == pattern::random       ? MADV_RANDOM
                 : use == pattern::sequential ? MADV_SEQUENTIAL
                                              : MADV_NORMAL;
    ::madvise(data_, size_, advice);
}

namespace {

std::string read_all(const file& f)
{
    std::string bytes(f.size(), '\0');
    bytes.resize(f.read_at(0, bytes.data(), bytes.size()));
    return bytes;
}

}  // namespace

std::string read_file(const std::string& path)
{
    return read_all(file{path, file::access::read});
}

std::optional<std::string> try_read_file(const std::string& path)
{
    auto f = file::try_open(path, file::access::read);
    if (!f) return std::nullopt;
    return read_all(*f);
}

void publish(file& temporary, const std::string& path)
{
    temporary.sync();
    temporary.rename(path);
    sync_directory(parent_directory(path));
}

void write_file_atomically(const std::string& path, bytes_view bytes)
{
    file temporary{path + ".tmp", file::access::truncate};
    temporary.write_at(0, bytes);
    publish(temporary, path);
}

void sync_directory(const std::string& directory)
{
    int fd = open_descriptor(directory, O_RDONLY | O_DIRECTORY);
    if (fd < 0) throw_io_error(errno, "open the directory", directory);
    int failed = uninterrupted([&] { return ::fsync(fd); }) < 0 ? errno : 0;
    ::close(fd);
    if (failed) throw_io_error(failed, "make durable the directory", directory);
}

void rename_file(const std::string& from, const std::string& to)
{
    if (uninterrupted([&] { return ::rename(from.c_str(), to.c_str()); }) < 0)
        throw_io_error(errno, "rename to " + to, from);
}

bool remove_file(const std::string& path)
{
    if (uninterrupted([&] { return ::unlink(path.c_str()); }) == 0) return true;
    if (errno == ENOENT) return false;
    throw_io_error(errno, "remove", path);
}

bool make_directory(const std::string& path)
{
    if (uninterrupted([&] { return ::mkdir(path.c_str(), 0755); }) == 0) return true;
    if (errno == EEXIST) return false;
    throw_io_error(errno, "make the directory", path);
}

bool file_exists(const std::string& path)
{
    struct stat status;
    if (::stat(path.c_str(), &status) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    throw_io_error(errno, "look for", path);
}

std::vector<std::string> list_directory(const std::string& directory)
{
    std::unique_ptr<DIR, int (*)(DIR*)> open{::opendir(directory.c_str()), ::closedir};
    if (!open) throw_io_error(errno, "list the directory", directory);

    std::vector<std::string> names;
    for (;;) {
        errno             = 0;
        const auto* entry = ::readdir(open.get());
        if (!entry) break;
        std::string_view name = entry->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) throw_io_error(errno, "list the directory", directory);
    std::sort(names.begin(), names.end());
    return names;
}

std::string parent_directory(const std::string& path)
{
    auto slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace cairn::detail
