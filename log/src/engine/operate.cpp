// SPDX-License-Identifier: Apache-2.0
//
// Statistics, backup, verification.
#include "directory.hpp"
#include "engine.hpp"

#include "../file.hpp"
#include "commit.hpp"

#include <cairn/log/crc32c.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <set>
#include <utility>

namespace cairn {
namespace detail {

log_statistics engine::statistics() const
{
    log_statistics s;
    s.appends        = counters_.appends;
    s.records        = counters_.records;
    s.batches        = counters_.batches;
    s.refused        = counters_.refused;
    s.repeated       = counters_.repeated;
    s.bytes_appended = counters_.bytes;
    s.groups         = counters_.groups;
    s.group_size_max = counters_.group_size_max;
    s.merges         = counters_.merges;
    s.cleaned_bytes  = counters_.cleaned_bytes;
    s.end            = end();
    s.failed         = failed_;
    s.uptime_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - opened_).count();
    const auto current = [&] {
        const std::lock_guard lock{handles_mutex_};
        return journal_;
    }();
    if (current) {
        const auto j    = current->statistics();
        s.flushes       = j.groups;
        s.journal_bytes = j.bytes;
        s.journal_waits = j.waits;
    }
    {
        const std::shared_lock lock{publish_mutex_};
        s.tail_bytes = tail_.bytes();
        s.merge_lag  = static_cast<std::uint64_t>(end() - tail_.first(end()));
    }
    const auto list = segments();
    s.segments      = list.size();
    for (const auto& each : list) s.segment_bytes += each.body->bytes();
    const auto i              = index_->statistics();
    s.index_entries_in_memory = i.entries_in_memory;
    s.index_runs              = i.runs;
    s.index_bytes             = i.run_bytes;
    return s;
}

// ---- Backup. ----------------------------------------------------------------------------------

namespace {

/// Copies a file that no longer changes, durably; returns its bytes.
std::uint64_t copy_file(const std::string& from, const std::string& to)
{
    const file    in{from, file::access::read};
    file          out{to, file::access::create_new};
    std::string   buffer(1 << 20, '\0');
    std::uint64_t at = 0;
    while (const auto n = in.read_at(at, buffer.data(), buffer.size())) {
        out.write_at(at, bytes_view{buffer}.substr(0, n));
        at += n;
    }
    out.sync();
    return at;
}

}  // namespace

void engine::backup(const std::string& to)
{
    throw_if_shut();
    if (in_memory_)
        throw error{errc::invalid_argument, "a log in memory has nothing on disk to back up"};
    if ((std::filesystem::weakly_canonical(to) / "")
            .native()
            .starts_with((std::filesystem::weakly_canonical(directory_) / "").native()))
        throw error{errc::invalid_argument,
                    to + " lies in the log's own directory: a backup goes elsewhere, best to "
                         "another disk"};
    if (!make_directory(to) && !list_directory(to).empty())
        throw error{errc::invalid_argument,
                    to + " is not empty: a backup goes into a new or empty directory"};

    // Rewrites are held off; appends go on.
    const std::lock_guard no_rewrite{clean_mutex_};
    for (const char* name : {"/journal", "/log", "/index"}) make_directory(to + name);
    const auto list = segments();
    progress   p{"backing up", 0, index_->statistics().run_bytes};
    for (const auto& s : list) p.total += s.body->bytes();
    const auto told = [&](std::uint64_t bytes) {
        p.done += bytes;
        if (options_.on_progress) options_.on_progress(p);
    };

    // What is sealed is copied file by file; what comes after it, as far as the log goes now, is
    // read and written anew.
    position next{0};
    for (const auto& s : list) {
        if (!s.body->sealed()) break;
        const auto& path = s.body->path();
        told(copy_file(path, to + "/log" + path.substr(path.rfind('/'))));
        next = s.body->end();  // it may have been sealed since the list was made
    }
    const auto end = std::max(next, this->end());
    if (next < end) {
        const auto store = make_lmdb_store({to + "/log", false});
        const auto rest  = store->prepare(2 * options_.segment_bytes_max + (256ull << 20));
        const auto first = next;
        for (std::vector<placed_batch> batches; next < end; batches.clear()) {
            if (read_all(next, {8 << 20, 65'536}, batches) == 0) break;
            std::erase_if(batches, [&](const placed_batch& b) { return b.position >= end; });
            next = batches.empty() ? end : batches.back().end_position();
            rest->append(batches, next);
            std::uint64_t bytes = 0;
            for (const auto& b : batches) bytes += b.bytes.size();
            told(bytes);
        }
        if (rest->end() < end) rest->append({}, end);
        rest->seal();
        store->publish(rest, first, {});
    }

    // The index as far as the copy goes; the rest is caught up when the copy is opened.
    for (int attempt = 0;; ++attempt) {
        try {
            for (const auto& name : list_directory(directory_ + "/index")) {
                const auto from = directory_ + "/index/" + name;
                if (name.ends_with(".run")) {
                    if (std::atoll(name.substr(name.find('-') + 1).c_str()) <= end.value)
                        told(copy_file(from, to + "/index/" + name));
                } else if (name == "folded.state") {
                    const auto bytes    = read_file(from);
                    const auto snapshot = folded_state::decode(bytes);
                    if (snapshot && snapshot->first <= end)
                        write_file_atomically(to + "/index/" + name, bytes);
                }
            }
            break;
        } catch (const storage_error&) {
            // A merge has replaced a run meanwhile; the list is read again.
            if (attempt == 10) throw;
            for (const auto& name : list_directory(to + "/index"))
                remove_file(to + "/index/" + name);
        }
    }
    for (const char* name : {"/index", "/log", "/journal"}) sync_directory(to + name);
    // Without FORMAT it is no data directory: written last, a broken-off backup never opens.
    write_file_atomically(to + "/FORMAT", read_file(directory_ + "/FORMAT"));
    sync_directory(parent_directory(to));
}

// ---- Verification. ----------------------------------------------------------------------------

namespace {

constexpr std::size_t faults_max = 1000;

/// What the child tells its parent, a line each, fields separated by tabs.
class wire
{
public:
    explicit wire(int fd) : fd_{fd} {}

    void send(const std::string& line) const
    {
        auto text = line + "\n";
        for (std::size_t at = 0; at < text.size();) {
            const auto n = ::write(fd_, text.data() + at, text.size() - at);
            if (n <= 0) return;
            at += static_cast<std::size_t>(n);
        }
    }

private:
    int fd_;
};

std::string one_line(std::string text)
{
    std::replace(text.begin(), text.end(), '\n', ' ');
    std::replace(text.begin(), text.end(), '\t', ' ');
    return text;
}

}  // namespace

/// Runs in the child: opens what is there and checks it, without an engine's threads.
class verifier
{
public:
    verifier(std::string directory, int fd) : directory_{std::move(directory)}, out_{fd} {}

    void run()
    {
        const auto format = open_directory(directory_, false);
        auto       store  = make_lmdb_store({directory_ + "/log", true});
        segments_         = store->open_all();
        check_segments();
        check_index(format.secret);
        out_.send("counts\t" + std::to_string(records_) + "\t" + std::to_string(batches_) + "\t" +
                  std::to_string(bytes_) + "\t" + std::to_string(segments_.size()) + "\t" +
                  std::to_string(partitions_.size()));
    }

    void fault(const std::string& where, std::string what, std::uint32_t uid = ~0u,
               offset at = offset{-1})
    {
        // A damaged batch is met in every order in which batches are read.
        if (at.value >= 0 && !told_.emplace(uid, at).second) return;
        if (what.starts_with(where + ": ")) what.erase(0, where.size() + 2);
        std::string topic;
        auto        number = -1;
        if (const auto* p = topics_.find(uid)) {
            topic  = p->topic->name;
            number = p->number;
        }
        out_.send("fault\t" + one_line(where) + "\t" + one_line(what) + "\t" + topic + "\t" +
                  std::to_string(number) + "\t" + std::to_string(at.value));
    }

private:
    void check_segments()
    {
        // The names of partitions first, so that faults can say them.
        for (const auto& s : segments_) {
            try {
                // Read by itself: damage to another partition must not hide them.
                std::vector<placed_batch> batches;
                for (offset next{0}; s->read(topics_uid, next, {1 << 20, 4096}, batches) > 0;) {
                    for (const auto& b : batches) {
                        const auto    batch = batch_view::parse(b.bytes, nullptr, false);
                        record_cursor records{*batch, batch->payload(), b.position};
                        while (records.next())
                            if (records.current().key)
                                topics_.apply(*records.current().key, records.current().value);
                    }
                    next = batches.back().end_offset();
                    batches.clear();
                }
            } catch (const std::exception&) {
                // verify() below says where.
            }
        }
        std::uint64_t done = 0, total = 0;
        for (const auto& s : segments_) total += s->bytes();
        position expected{0};
        for (const auto& s : segments_) {
            bool faulty = false;
            s->verify([&](std::uint32_t uid, offset at, const std::string& what) {
                faulty = true;
                fault(s->path(), what, uid, at);
            });
            if (s->first() < expected)
                fault(s->path(), "it begins at position " + std::to_string(s->first().value) +
                                     ", inside the segment before it");
            expected = s->end();
            // A segment that was written anew has holes; what it lacks is in its index slice.
            if (faulty)
                any_rewritten_ = true;  // nor is it known what a faulty one lacks
            else
                check_density(*s, s->has_index_slice());
            done += s->bytes();
            out_.send("progress\t" + std::to_string(done) + "\t" + std::to_string(total));
        }
    }

    void check_density(const segment& s, bool rewritten)
    {
        auto next = s.first();
        try {
            each_batch(s, [&](const placed_batch& b) {
                ++batches_;
                bytes_ += b.bytes.size();
                const auto batch = batch_view::parse(b.bytes, nullptr, false);
                records_ += static_cast<std::uint64_t>(batch->record_count());
                if (b.position < next || (b.position > next && !rewritten))
                    fault(s.path(),
                          "position " + std::to_string(next.value) + " was expected, " +
                              std::to_string(b.position.value) + " is there",
                          b.partition_uid, b.base);
                next        = b.end_position();
                auto& end   = partitions_.try_emplace(b.partition_uid, b.base).first->second;
                if (b.base < end || (b.base > end && !rewritten && !any_rewritten_))
                    fault(s.path(),
                          "offset " + std::to_string(end.value) + " was expected, " +
                              std::to_string(b.base.value) + " is there",
                          b.partition_uid, b.base);
                end = b.end_offset();
                std::string scratch;
                const auto  payload = batch->unpack(scratch, unpack_bytes_max);
                if (!payload) {
                    fault(s.path(), "the batch does not unpack", b.partition_uid, b.base);
                    return;
                }
                record_cursor records{*batch, *payload, b.position};
                while (records.next()) {}
                if (!records.ok())
                    fault(s.path(), "the batch's records do not parse", b.partition_uid, b.base);
            });
        } catch (const damaged_batch& e) {
            fault(s.path(), e.what(), e.partition_uid(), e.at());
        } catch (const std::exception& e) {
            fault(s.path(), e.what());
        }
        if (rewritten) any_rewritten_ = true;
    }

    void check_index(hash_key key)
    {
        index::options o;
        o.directory = directory_ + "/index";
        o.key       = key;
        o.read_only = true;
        if (!file_exists(o.directory)) return;  // derived: it is made again
        std::unique_ptr<class index> index;
        try {
            index = std::make_unique<class index>(
                o, [&](const std::string& what) { fault(o.directory, what); });
        } catch (const std::exception& e) {
            fault(o.directory, e.what());
            return;
        }
        index->verify([&](const std::string& what) { fault(o.directory, what); });
        const auto end = index->checkpoint();
        for (const auto& s : segments_) {
            if (s->first() >= end) break;
            try {
                each_batch(*s, [&](const placed_batch& b) {
                    if (b.end_position() <= end) check_entries(*index, b);
                });
            } catch (const damaged_batch& e) {
                fault(s->path(), e.what(), e.partition_uid(), e.at());
            } catch (const std::exception& e) {
                fault(s->path(), e.what());
            }
        }
    }

    /// Whether the index knows of each record of a batch what the record says.
    void check_entries(const class index& index, const placed_batch& b)
    {
        if (b.partition_uid < first_free_uid) return;
        const auto batch = batch_view::parse(b.bytes, nullptr, false);
        if (batch->is_control()) return;
        std::string scratch;
        const auto  payload = batch->unpack(scratch, unpack_bytes_max);
        if (!payload) return;
        record_cursor     records{*batch, *payload, b.position};
        std::vector<term> terms;
        const auto* const of = topics_.find(b.partition_uid);
        while (records.next()) {
            const auto& r = records.current();
            terms.clear();
            term command;
            collect_terms(index.hasher(), r.headers, !of || of->shown(), terms, command);
            const auto missing = [&](const std::string& what) {
                fault(directory_ + "/index", "it does not know the record's " + what,
                      b.partition_uid, r.offset);
            };
            for (const auto& t : terms) {
                const query_terms q{{{{t}, {}}}};
                if (index.matches(q, r.position, r.position.next(), direction::forward, 1)
                        .empty())
                    missing("type or tag");
            }
            if (r.key) {
                const auto stream = index.hasher().stream(b.partition_uid, *r.key);
                auto&      next   = versions_[stream.low];
                auto found = index.stream(stream, version{next}, direction::forward, 16);
                auto at    = std::find_if(found.begin(), found.end(), [&](const auto& p) {
                    return p.offset == r.offset && p.position == r.position;
                });
                if (at == found.end()) {
                    found = index.stream(stream, version{0}, direction::forward,
                                         static_cast<std::size_t>(-1) >> 1);
                    at    = std::find_if(found.begin(), found.end(), [&](const auto& p) {
                        return p.offset == r.offset && p.position == r.position;
                    });
                }
                if (at == found.end())
                    missing("place in its stream");
                else
                    next = at->version.value + 1;
                if (versions_.size() > 4'000'000) versions_.clear();
            }
        }
    }

    template <class F>
    static void each_batch(const segment& s, F&& f)
    {
        std::vector<placed_batch> batches;
        for (auto next = s.first(); next < s.end();) {
            batches.clear();
            if (s.read_all(next, {1 << 20, 4096}, batches) == 0) break;
            for (const auto& b : batches) {
                f(b);
                next = b.end_position();
            }
        }
    }

    std::string                                directory_;
    wire                                       out_;
    std::vector<std::shared_ptr<segment>>      segments_;
    topics_state                               topics_;
    std::map<std::uint32_t, offset>            partitions_;
    std::unordered_map<std::uint64_t, std::int64_t> versions_;
    std::set<std::pair<std::uint32_t, offset>>      told_;
    bool          any_rewritten_ = false;
    std::uint64_t records_ = 0, batches_ = 0, bytes_ = 0;
};

}  // namespace detail

verify_report verify(const std::string& directory,
                     const std::function<void(const progress&)>& on_progress)
{
    try {
        (void)detail::open_directory(directory, false);
    } catch (const storage_error& e) {
        // What is no log cannot be verified; what is a damaged one can.
        if (e.code() == errc::not_a_data_directory || e.code() == errc::newer_format) throw;
    }
    int ends[2];
    if (::pipe(ends) != 0) detail::throw_io_error(errno, "make a pipe for verifying", directory);
    const auto child = ::fork();
    if (child < 0) detail::throw_io_error(errno, "start a process for verifying", directory);
    if (child == 0) {
        ::close(ends[0]);
        detail::verifier v{directory, ends[1]};
        try {
            v.run();
        } catch (const std::exception& e) {
            v.fault(directory, e.what());
        }
        ::_exit(0);
    }
    ::close(ends[1]);

    verify_report report;
    std::string   pending;
    char          buffer[4096];
    for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) != 0;) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
        pending.append(buffer, static_cast<std::size_t>(n));
        for (std::size_t end = 0; (end = pending.find('\n')) != std::string::npos;) {
            std::vector<std::string> fields{""};
            for (std::size_t i = 0; i < end; ++i)
                if (pending[i] == '\t')
                    fields.emplace_back();
                else
                    fields.back() += pending[i];
            pending.erase(0, end + 1);
            if (fields[0] == "fault" && fields.size() == 6) {
                verify_fault f;
                f.where  = fields[1];
                f.what   = fields[2];
                f.offset = cairn::offset{std::stoll(fields[5])};
                if (!fields[3].empty()) {
                    f.at    = topic_partition{fields[3], std::stoi(fields[4])};
                    f.where = fields[3] + "-" + fields[4] + "@" + fields[5];
                }
                if (report.faults.size() < detail::faults_max)
                    report.faults.push_back(std::move(f));
            } else if (fields[0] == "counts" && fields.size() == 6) {
                report.records    = std::stoull(fields[1]);
                report.batches    = std::stoull(fields[2]);
                report.bytes      = std::stoull(fields[3]);
                report.segments   = std::stoull(fields[4]);
                report.partitions = std::stoull(fields[5]);
            } else if (fields[0] == "progress" && fields.size() == 3 && on_progress) {
                on_progress({"verifying", std::stoull(fields[1]), std::stoull(fields[2])});
            }
        }
    }
    ::close(ends[0]);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        report.faults.push_back(
            {directory,
             "the checking process ended by " +
                 (WIFSIGNALED(status)
                      ? "signal " + std::to_string(WTERMSIG(status)) +
                            " (LMDB stops so on damaged pages)"
                      : "itself with " + std::to_string(WEXITSTATUS(status))) +
                 ": a segment is damaged; restore a backup",
             std::nullopt, cairn::offset{-1}});
    return report;
}

}  // namespace cairn
