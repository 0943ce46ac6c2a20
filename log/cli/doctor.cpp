// SPDX-License-Identifier: Apache-2.0
#include "bench/measure.hpp"
#include "json.hpp"
#include "session.hpp"
#include "table.hpp"
#include "text.hpp"

#include <cairn/log/commit_log.hpp>

#include <sys/vfs.h>
#include <unistd.h>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <optional>
#include <system_error>
#include <utility>

namespace cairn::cli {

namespace {

namespace fs = std::filesystem;

/// Less is kept free for the merger and the next segment.
constexpr std::uint64_t free_bytes_wanted = 2ull << 30;

/// No disk that writes before it answers is faster than this; a cache with a battery may be.
constexpr double suspicious_flush_us = 15;

enum class verdict { good, notice, bad };

struct finding
{
    std::string check;
    verdict     result;
    std::string what;
};

std::string_view text_of(verdict v)
{
    switch (v) {
    case verdict::good:
        return "ok";
    case verdict::notice:
        return "note";
    case verdict::bad:
        break;
    }
    return "bad";
}

/// A kind of file system on which a log is not safe, or not known to be.
std::optional<finding> opinion_of(std::uint64_t magic)
{
    const auto bad = [](const char* what) { return finding{"file system", verdict::bad, what}; };
    switch (magic) {
    case 0x01021994:
        return bad("tmpfs: it is in memory, and gone when the machine stops");
    case 0x858458f6:
        return bad("ramfs: it is in memory, and gone when the machine stops");
    case 0x6969:
        return bad("NFS: a memory map on it is not safe; use a local disk");
    case 0xff534d42:
    case 0xfe534d42:
        return bad("SMB: a memory map on it is not safe; use a local disk");
    case 0x01021997:
        return bad("9p: a memory map on it is not safe; use a local disk");
    case 0x65735546:
        return finding{"file system", verdict::notice,
                       "FUSE: whether a flush reaches a disk depends on what is behind it"};
    case 0x794c7630:
        return finding{"file system", verdict::notice,
                       "overlayfs, as in a container: mount a volume for what shall be kept"};
    default:
        return std::nullopt;
    }
}

finding file_system(const fs::path& directory)
{
    struct ::statfs found = {};
    if (::statfs(directory.c_str(), &found) != 0)
        return {"file system", verdict::bad, std::generic_category().message(errno)};
    if (const auto opinion = opinion_of(static_cast<std::uint64_t>(found.f_type))) return *opinion;
    return {"file system", verdict::good, "a local one"};
}

finding free_space(const fs::path& directory)
{
    const auto free = fs::space(directory).available;
    if (free >= free_bytes_wanted) return {"free space", verdict::good, as_size(free)};
    return {"free space", verdict::notice,
            as_size(free) + ": appends are refused when there is none left"};
}

/// How long a flush takes, in a scratch folder beside the log.
finding flushes(const fs::path& directory)
{
    if (::access(directory.c_str(), W_OK) != 0)
        return {"flushes", verdict::notice, "not measured: the directory cannot be written"};
    const bench::scratch_directory scratch{directory.string()};
    const auto raw  = bench::raw_overwrite(scratch.path(), std::chrono::milliseconds{500});
    auto       text = with_commas(static_cast<std::uint64_t>(raw.rate)) + " a second, one takes " +
                std::to_string(static_cast<int>(raw.p50_us)) + " µs";
    if (raw.p50_us >= suspicious_flush_us) return {"flushes", verdict::good, std::move(text)};
    return {"flushes", verdict::notice,
            text + ": too fast for a disk; make sure that it keeps its word when the power fails"};
}

/// Opens the log as a writer would, or else as a reader.
finding log_opens(const common_options& o, session& s)
{
    try {
        const auto log = s.open_to_write(o);
        return {"the log", verdict::good,
                counted(log.topics().size(), "topic") + ", end position " +
                    std::to_string(log.end_position().value) + ", held by nobody"};
    } catch (const error& fault) {
        if (fault.code() != errc::held_by_another && fault.code() != errc::not_writable)
            return {"the log", verdict::bad, fault.what()};
        const auto log = s.open_to_read(o);
        return {"the log", verdict::notice,
                counted(log.topics().size(), "topic") + "; read-only: " + fault.what()};
    }
}

int doctor(const common_options& o, session& s)
{
    const fs::path directory = o.directory();
    if (!fs::exists(directory / "FORMAT"))
        throw error{errc::not_a_data_directory,
                    "there is no log in " + directory.string() + ": check the path"};

    std::vector<finding> findings;
    const auto           look = [&](const char* check, const std::function<finding()>& how) {
        try {
            findings.push_back(how());
        } catch (const std::exception& fault) {
            findings.push_back({check, verdict::bad, fault.what()});
        }
    };
    look("file system", [&] { return file_system(directory); });
    look("free space", [&] { return free_space(directory); });
    look("flushes", [&] { return flushes(directory); });
    look("the log", [&] { return log_opens(o, s); });

    table       t{{"CHECK", "RESULT", "WHAT"}};
    std::size_t bad = 0;
    for (const auto& f : findings) {
        if (f.result == verdict::bad) ++bad;
        if (!o.json()) {
            t.row({f.check, std::string{text_of(f.result)}, f.what});
            continue;
        }
        std::string line;
        json_writer json{line};
        json.begin_object().field("check", f.check).field("result", text_of(f.result));
        json.field("what", printable(f.what)).end_object();
        s.out().write(line + '\n');
    }
    if (!o.json()) t.print(s.out());
    if (bad == 0) return 0;
    throw failure{"faults_found", counted(bad, "thing") + " should be mended first"};
}

}  // namespace

void add_doctor(command& root)
{
    auto  o = std::make_shared<common_options>();
    auto& c = root.add("doctor", "Look whether a log is on good ground");
    c.text(
        "Looks at the file system, the free space, how long a flush takes, and whether the log "
        "opens; ends with 1 where something is bad. It takes about a second; 'cairn verify' "
        "reads everything.");
    add_data_option(c, *o);
    add_format_option(c, *o);
    c.json("one object per check", {{"check", "What was looked at."},
                                    {"result", "ok, note or bad."},
                                    {"what", "What was found."}});
    c.shows("cairn doctor --data ./data", "Before it goes into service, or when it is slow.");
    c.does([o](session& s) { return doctor(*o, s); });
}

}  // namespace cairn::cli
