// SPDX-License-Identifier: Apache-2.0
#include "directory.hpp"

#include <cairn/log/crc32c.hpp>

#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

namespace cairn::detail {

namespace {

std::string hex(std::uint64_t n, int digits)
{
    std::string text(static_cast<std::size_t>(digits), '0');
    for (auto digit = text.rbegin(); digit != text.rend(); ++digit, n >>= 4)
        *digit = "0123456789abcdef"[n & 15];
    return text;
}

std::optional<std::uint64_t> parse_hex(std::string_view text)
{
    std::uint64_t n = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), n, 16);
    if (failed != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return n;
}

std::string format_text(const directory_format& f)
{
    std::string text = "cairn " + std::to_string(format_version) + "\ncluster " + f.cluster_id +
                       "\nsecret " + hex(f.secret[0], 16) + hex(f.secret[1], 16) + "\n";
    return text + "check " + hex(crc32c(text), 8) + "\n";
}

std::string_view line_after(std::string_view text, std::string_view word)
{
    const auto at = text.find(word);
    if (at == std::string_view::npos) return {};
    const auto rest = text.substr(at + word.size());
    return rest.substr(0, rest.find('\n'));
}

directory_format parse_format(const std::string& directory, const std::string& text)
{
    const auto damaged = [&] {
        return storage_error{errc::damaged_index,
                             directory + "/FORMAT is damaged: restore it from a backup of this "
                                         "directory (it never changes)"};
    };
    if (!text.starts_with("cairn ")) {
        if (text.find("\nsecret ") != std::string::npos) throw damaged();
        throw storage_error{errc::not_a_data_directory,
                            directory + "/FORMAT is not Cairn's: choose another directory"};
    }
    const auto number  = line_after(text, "cairn ");
    int        version = 0;
    std::from_chars(number.data(), number.data() + number.size(), version);
    if (version < 1) throw damaged();
    if (version > format_version)
        throw storage_error{errc::newer_format,
                            directory + " has format " + std::to_string(version) +
                                ", this Cairn knows up to " + std::to_string(format_version) +
                                ": use the Cairn that wrote it, or a newer one"};
    const auto check  = text.find("check ");
    const auto secret = line_after(text, "secret ");
    directory_format f;
    f.cluster_id    = line_after(text, "cluster ");
    const auto high = parse_hex(secret.substr(0, std::min<std::size_t>(16, secret.size())));
    const auto low  = secret.size() == 32 ? parse_hex(secret.substr(16)) : std::nullopt;
    if (check == std::string::npos || !high || !low ||
        parse_hex(line_after(text, "check ")) != crc32c(std::string_view{text}.substr(0, check)))
        throw damaged();
    f.secret = {*high, *low};
    return f;
}

/// Whether this is nothing, or what is left of a directory that was being made.
bool nothing_in(const std::string& directory)
{
    for (const auto& name : list_directory(directory)) {
        if (name == "LOCK" || name == "FORMAT.tmp") continue;
        if (name != "journal" && name != "log" && name != "index") return false;
        if (!list_directory(directory + "/" + name).empty()) return false;
    }
    return true;
}

}  // namespace

directory_format random_format()
{
    std::array<unsigned char, 32> random{};
    if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size()))
        throw storage_error{errc::io_failed, "the system gives no random bytes"};
    constexpr char   digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    directory_format f;
    for (std::size_t i = 0; i < 22; ++i) f.cluster_id += digits[random[i % 16] >> (i / 16) & 63];
    for (std::size_t i = 0; i < 16; ++i) f.secret[i / 8] = f.secret[i / 8] << 8 | random[16 + i];
    return f;
}

void check_directory(const std::string& directory, bool create)
{
    struct stat about{};
    if (::stat(directory.c_str(), &about) != 0) {
        if (errno != ENOENT) throw_io_error(errno, "open", directory);
        if (!create)
            throw storage_error{errc::not_a_data_directory,
                                "there is no directory " + directory +
                                    ": check the path, or let it be created"};
        make_directory(directory);
        sync_directory(parent_directory(directory));
    } else if (!S_ISDIR(about.st_mode)) {
        throw storage_error{errc::not_a_data_directory,
                            directory + " is not a directory: a log lives in one"};
    }
    if (file_exists(directory + "/FORMAT")) return;
    if (!nothing_in(directory))
        throw storage_error{errc::not_a_data_directory,
                            directory + " holds other things and no log: choose an empty or new "
                                        "directory"};
    if (!create)
        throw storage_error{errc::not_a_data_directory, "there is no log in " + directory +
                                                            ": check the path"};
}

directory_format open_directory(const std::string& directory, bool create)
{
    check_directory(directory, create);
    if (const auto text = try_read_file(directory + "/FORMAT"))
        return parse_format(directory, *text);
    for (const char* name : {"/journal", "/log", "/index"}) make_directory(directory + name);
    sync_directory(directory);
    const auto f = random_format();
    write_file_atomically(directory + "/FORMAT", format_text(f));
    return f;
}

directory_lock::directory_lock(const std::string& directory)
    : file_{directory + "/LOCK", file::access::create}
{
    // A reader that opens holds it shared for a moment: worth a few more tries.
    int failed = 0;
    for (int attempt = 0; attempt < 20; ++attempt) {
        failed = ::flock(file_.fd(), LOCK_EX | LOCK_NB);
        if (failed == 0 || errno != EWOULDBLOCK) break;
        if (::flock(file_.fd(), LOCK_SH | LOCK_NB) != 0) {  // not a reader: somebody writes
            errno = EWOULDBLOCK;
            break;
        }
        ::flock(file_.fd(), LOCK_UN);
        ::usleep(10'000);
        errno = EWOULDBLOCK;
    }
    if (failed != 0) {
        if (errno != EWOULDBLOCK) throw_io_error(errno, "lock", file_.path());
        char       text[32] = {};
        const auto n        = file_.read_at(0, text, sizeof text - 1);
        long       pid      = 0;
        std::from_chars(text, text + n, pid);
        throw storage_error{errc::held_by_another,
                            directory + " is being written by " +
                                (pid == ::getpid() ? "this process already (pid "
                                                   : "another process (pid ") +
                                std::to_string(pid) +
                                "): stop it, open read-only, or use another directory"};
    }
    file_.truncate(0);
    file_.write_at(0, std::to_string(::getpid()) + "\n");
}

std::unique_ptr<directory_lock> directory_lock::try_keep_writers_out(const std::string& directory)
{
    auto lock = file::try_open(directory + "/LOCK", file::access::read);
    if (!lock || ::flock(lock->fd(), LOCK_SH | LOCK_NB) != 0) return nullptr;
    return std::unique_ptr<directory_lock>{new directory_lock{std::move(*lock)}};
}

}  // namespace cairn::detail
