// SPDX-License-Identifier: Apache-2.0
//
// One bit of one file of a closed data directory is flipped, whichever: what the log then says is
// what it said before, or an error. It is asked in a child process, as LMDB may abort on a damaged
// page: that is loud, so it is allowed.
#include "log_workload.hpp"
#include "main/temporary_directory.hpp"

#include <cairn/log/commit_log.hpp>

#include <catch2/catch.hpp>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <vector>

using namespace cairn;
using namespace cairn::testing;

namespace fs = std::filesystem;

namespace {

constexpr std::array topics{"kept", "short", "latest"};
constexpr int        keys = 7, types = 3, tags = 4;

struct answer
{
    std::vector<std::string> lines;
    bool                     complete = false;  ///< it did not end in an error
};

using answers = std::map<std::string, answer>;  // by question

std::string text_of(const record_view& r)
{
    std::ostringstream out;
    out << *r.from << '@' << r.offset << ' ' << r.position << ' ' << r.version << ' '
        << r.timestamp.value << ' ' << r.key.value_or("null") << '=' << r.value.value_or("null");
    for (const auto& h : r.headers) out << ' ' << h.name << ':' << h.value.value_or("null");
    return out.str();
}

/// Asks a log for all that it can say of what is in it, each question by itself.
class interview
{
public:
    explicit interview(const commit_log& log) : log_{log}
    {
        ask("topics", [&](answer& a) {
            for (const auto& name : log_.topics(true)) describe(name, a);
        });
        ask("all", [&](answer& a) { tell(log_.read_all(), a); });
        ask("all, backwards", [&](answer& a) { tell(log_.read_all_backwards(), a); });
        ask("end", [&](answer& a) { tell(log_.end_position().value, a); });
        for (const std::string topic : topics) ask_of(topic);
        for (int t = 0; t < types; ++t) {
            const auto  type = "T" + std::to_string(t);
            const query q{{{{type}, {}}}};
            ask("of " + type, [&](answer& a) { tell(log_.read_query(q), a); });
            ask("of " + type + ", backwards",
                [&](answer& a) { tell(log_.read_query_backwards(q), a); });
            ask("last " + type,
                [&](answer& a) { tell(log_.last_match(q).value_or(position{-1}).value, a); });
        }
        for (const std::string prefix : {"kept:", "other:"})
            for (int n = 0; n < tags; ++n) {
                const auto  tag = prefix + std::to_string(n);
                const query q{{{{}, {tag}}}};
                ask("tagged " + tag, [&](answer& a) { tell(log_.read_query(q), a); });
                ask("last " + tag,
                    [&](answer& a) { tell(log_.last_match(q).value_or(position{-1}).value, a); });
            }
        ask("groups", [&](answer& a) {
            for (const auto& group : log_.groups().list())
                for (const auto& c : log_.groups().fetch(group))
                    a.lines.push_back(group + ' ' + c.at.topic + ' ' +
                                      std::to_string(c.offset.value) + ' ' + c.metadata);
        });
    }

    const answers& told() const { return told_; }

private:
    void ask(const std::string& question, const std::function<void(answer&)>& f)
    {
        auto& a = told_[question];
        try {
            f(a);
            a.complete = true;
        } catch (const error&) {
        }
    }

    void ask_of(const std::string& topic)
    {
        ask("partitions of " + topic, [&](answer& a) {
            for (const auto& p : log_.partitions(topic)) {
                tell(p.read(p.start_offset()), a);
                tell(p.read_backwards(p.end_offset()), a);
                const auto found = p.offset_for_time(timestamp{0});
                tell(found ? found->first.value : -1, a);
            }
        });
        for (int k = 0; k < keys; ++k) {
            const stream_id stream{topic, "k" + std::to_string(k)};
            ask("version of " + topic + ' ' + stream.key,
                [&](answer& a) { tell(log_.stream_version(stream).value, a); });
            ask("stream " + topic + ' ' + stream.key,
                [&](answer& a) { tell(log_.read_stream(stream), a); });
            ask("stream " + topic + ' ' + stream.key + ", backwards",
                [&](answer& a) { tell(log_.read_stream_backwards(stream), a); });
        }
    }

    void describe(const std::string& name, answer& a)
    {
        const auto         d = log_.describe_topic(name);
        std::ostringstream out;
        out << name;
        for (const auto& [key, value] : d.config.entries()) out << ' ' << key << '=' << value;
        for (const auto& p : d.partitions) out << ' ' << p.start << ".." << p.end;
        a.lines.push_back(out.str());
    }

    static void tell(record_range&& range, answer& a)
    {
        for (const auto& r : range) a.lines.push_back(text_of(r));
    }
    static void tell(std::int64_t n, answer& a) { a.lines.push_back(std::to_string(n)); }

    const commit_log& log_;
    answers           told_;
};

enum outcome : int { same = 10, reported = 11, wrong = 12 };  // what a child exits with

/// An error ends an answer; what was said before it must be right.
outcome compare(const answers& right, const answers& found)
{
    outcome is = same;
    for (const auto& [question, a] : right) {
        const auto& other = found.at(question);
        const bool  fits  = other.lines.size() <= a.lines.size() &&
                          std::equal(other.lines.begin(), other.lines.end(), a.lines.begin()) &&
                          (!other.complete || other.lines.size() == a.lines.size());
        if (!fits) {
            std::cerr << "wrong: " << question << ": " << other.lines.size() << " lines, not "
                      << a.lines.size() << '\n';
            const auto [r, f] = std::mismatch(a.lines.begin(), a.lines.end(), other.lines.begin(),
                                              other.lines.end());
            if (r != a.lines.end()) std::cerr << "  was " << r->substr(0, 70) << '\n';
            if (f != other.lines.end()) std::cerr << "  is  " << f->substr(0, 70) << '\n';
            return wrong;
        }
        if (!other.complete) is = reported;
    }
    return is;
}

outcome open_and_compare(const std::string& directory, bool read_only, const answers& right)
{
    auto o      = log_workload::options();
    o.read_only = read_only;
    try {
        const auto log = commit_log::open(directory, o);
        return compare(right, interview{log}.told());
    } catch (const error&) {
        return reported;
    }
}

/// All that a log has on disk: rolled, rewritten and active segments, runs of the index, a journal.
void fill(const std::string& directory, std::uint64_t seed)
{
    log_workload work{seed};
    auto         log = commit_log::open(directory, log_workload::options());
    log_workload::create_topics(log);
    for (int i = 1; i <= 90; ++i) {
        work.append(log);
        if (i % 10 == 0) log.merge();
        if (i % 25 == 0) log.roll_segment();
        if (i == 30) work.cut(log);
        if (i == 60) log.clean();
    }
    log.groups().commit("readers", {{.at = {"short", 0}, .offset = offset{3}, .metadata = "m"}});
}

std::vector<fs::path> files_in(const std::string& directory)
{
    std::vector<fs::path> all;
    for (const auto& entry : fs::recursive_directory_iterator{directory})
        if (entry.is_regular_file() && entry.file_size() > 0) all.push_back(entry.path());
    std::sort(all.begin(), all.end());
    return all;
}

std::string read_bytes(const fs::path& file)
{
    std::ifstream in{file, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
}

void write_byte(const fs::path& file, std::size_t at, char byte)
{
    std::fstream out{file, std::ios::binary | std::ios::in | std::ios::out};
    out.seekp(static_cast<std::streamoff>(at));
    out.put(byte);
}

}  // namespace

TEST_CASE("a bit flipped in any file of a data directory is never served")
{
    const char* const given = std::getenv("CAIRN_SEED");
    const auto        seed  = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    INFO("CAIRN_SEED=" << seed);
    std::mt19937_64     random{seed};
    temporary_directory directory;
    const auto          whole = directory / "whole", copy = directory / "copy";
    fill(whole, seed);
    answers right;
    {
        auto o         = log_workload::options();
        o.read_only    = true;
        const auto log = commit_log::open(whole, o);
        right          = interview{log}.told();
    }
    for (const auto& [question, a] : right) {
        INFO(question);
        REQUIRE(a.complete);
    }
    REQUIRE(right.at("all").lines.size() > 100);

    const auto files = files_in(whole);
    const auto flips = std::max<std::size_t>(std::getenv("CAIRN_LONG") ? 6'000 : 240, files.size());
    std::map<std::string, std::size_t> count;
    for (std::size_t i = 0; i < flips; ++i) {
        const auto& file  = files[i % files.size()];
        const auto  bytes = read_bytes(file);
        auto        at    = static_cast<std::size_t>(random() % bytes.size());
        // Every other time where something is written: much of a file is zeros.
        if (random() % 2 == 0) at = std::min(bytes.find_first_not_of('\0', at), bytes.size() - 1);
        const auto bit = static_cast<int>(random() % 8);

        fs::remove_all(copy);
        fs::copy(whole, copy, fs::copy_options::recursive);
        write_byte(fs::path{copy} / fs::relative(file, whole), at,
                   static_cast<char>(bytes[at] ^ (1 << bit)));
        const bool read_only = random() % 2 == 0;
        const auto child     = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            for (const int s : {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE})
                ::signal(s, SIG_DFL);  // Catch would tell of each
            ::alarm(60);               // so a hang is told from other deaths
            ::_exit(open_and_compare(copy, read_only, right));
        }
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        INFO(fs::relative(file, whole)
             << ", byte " << at << ", bit " << bit << (read_only ? ", read-only" : "")
             << ", status " << status);
        if (WIFSIGNALED(status)) {
            CHECK(WTERMSIG(status) != SIGALRM);
            ++count["ended the child"];
            continue;
        }
        CHECK((WEXITSTATUS(status) == same || WEXITSTATUS(status) == reported));
        ++count[WEXITSTATUS(status) == same ? "without effect" : "reported"];
    }
    std::cout << flips << " flips in " << files.size() << " files:";
    for (const auto& [what, n] : count) std::cout << ' ' << n << ' ' << what << ';';
    std::cout << " seed " << seed << '\n';
    CHECK(count["reported"] > 0);
}
