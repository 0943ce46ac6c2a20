// SPDX-License-Identifier: Apache-2.0
#include <cairn/projections/feed_sink.hpp>

#include <cairn/log/error.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <mutex>

namespace cairn {

namespace {

class file_descriptor
{
public:
    file_descriptor(const std::string& path, int flags)
        : number_{::open(path.c_str(), flags | O_CLOEXEC, 0644)}
    {
    }
    ~file_descriptor()
    {
        if (number_ >= 0) ::close(number_);
    }
    file_descriptor(const file_descriptor&)            = delete;
    file_descriptor& operator=(const file_descriptor&) = delete;

    int operator*() const noexcept { return number_; }

private:
    const int number_;
};

class json_lines final : public feed_sink
{
public:
    explicit json_lines(std::string path)
        : path_{std::move(path)}, file_{path_, O_RDWR | O_APPEND | O_CREAT}
    {
        if (*file_ < 0) fail("open");
        struct stat is
        {};
        if (::fstat(*file_, &is) != 0) fail("open");
        if (!S_ISREG(is.st_mode))
            throw error{errc::invalid_argument,
                        path_ +
                            " is no file: lines are appended to a file, and half of one is "
                            "cut off"};
        if (::flock(*file_, LOCK_EX | LOCK_NB) != 0) {
            if (errno != EWOULDBLOCK) fail("lock");
            throw error{errc::held_by_another, path_ +
                                                   " is written by another sink: one of them "
                                                   "needs a file of its own"};
        }
        whole_ = end_of_lines(is.st_size);
        cut_off();
        // Its name is on disk too.
        const auto            parent = std::filesystem::path{path_}.parent_path();
        const file_descriptor directory{parent.empty() ? "." : parent.string(),
                                        O_RDONLY | O_DIRECTORY};
        if (*directory < 0 || ::fsync(*directory) != 0) fail("flush the directory of");
    }

    std::size_t deliver(std::span<const feed_line> lines) override
    {
        const std::lock_guard lock{mutex_};
        cut_off();
        std::string bytes;
        for (const auto& l : lines) (bytes += l.json) += '\n';
        torn_ = true;
        for (std::string_view left = bytes; !left.empty();) {
            const auto n = ::write(*file_, left.data(), left.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) fail_write();
            left.remove_prefix(static_cast<std::size_t>(n));
        }
        if (::fdatasync(*file_) != 0) fail_write();
        whole_ += static_cast<off_t>(bytes.size());
        torn_ = false;
        return lines.size();
    }

private:
    /// Behind the last end of a line.
    off_t end_of_lines(off_t size) const
    {
        std::array<char, 4096> some;
        while (size > 0) {
            const auto n    = std::min<off_t>(size, some.size());
            const auto read = ::pread(*file_, some.data(), static_cast<std::size_t>(n), size - n);
            if (read < 0 && errno == EINTR) continue;
            if (read != n) fail("read");
            const std::string_view block{some.data(), static_cast<std::size_t>(n)};
            if (const auto at = block.rfind('\n'); at != std::string_view::npos)
                return size - n + static_cast<off_t>(at) + 1;
            size -= n;
        }
        return 0;
    }

    void cut_off()
    {
        if (!torn_) return;
        if (::ftruncate(*file_, whole_) != 0) fail("cut half a line off");
        torn_ = false;
    }

    /// What was written of the lines goes, so that nobody reads half of one; if that fails too, it
    /// goes before the next.
    [[noreturn]] void fail_write()
    {
        const int why = errno;
        if (::ftruncate(*file_, whole_) == 0) torn_ = false;
        errno = why;
        fail("write");
    }

    [[noreturn]] void fail(const char* doing) const
    {
        const int  why  = errno;
        const bool full = why == ENOSPC || why == EDQUOT || why == EFBIG;
        const auto code = full                                            ? errc::disk_full
                          : why == EACCES || why == EROFS || why == EPERM ? errc::not_writable
                                                                          : errc::io_failed;
        throw storage_error{code, "cannot " + std::string{doing} + " " + path_ + ": " +
                                      std::generic_category().message(why) +
                                      (full ? "; it is tried again" : "")};
    }

    const std::string     path_;
    const file_descriptor file_;
    std::mutex            mutex_;
    off_t                 whole_ = 0;  // protected by it: so far there are whole lines
    bool                  torn_  = true;
};

}  // namespace

std::shared_ptr<feed_sink> json_lines_file(std::string path)
{
    return std::make_shared<json_lines>(std::move(path));
}

}  // namespace cairn
