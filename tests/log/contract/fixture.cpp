// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <cairn/log/record_batch.hpp>

#include <barrier>
#include <exception>
#include <ostream>
#include <sstream>

namespace cairn {

std::ostream& operator<<(std::ostream& out, errc code)
{
    return out << name(code) << " (" << static_cast<int>(code) << ')';
}

std::ostream& operator<<(std::ostream& out, const placement& p)
{
    return out << p.at << '@' << p.offset << " version " << p.version;
}

std::ostream& operator<<(std::ostream& out, const header& h)
{
    return out << h.name << ": " << h.value.value_or("null");
}

}  // namespace cairn

namespace contract {

// ---- Records. --------------------------------------------------------------------------------

event::event(std::string topic_name, std::optional<std::string> key,
             std::optional<std::string> value)
{
    topic        = std::move(topic_name);
    record.key   = std::move(key);
    record.value = std::move(value);
}

event& event::type(std::string type_name)
{
    return with(std::string{header_names::type}, std::move(type_name));
}

event& event::tags(const std::vector<std::string>& all)
{
    return with(std::string{header_names::tags}, join_tags(all));
}

event& event::with(std::string header_name, std::optional<std::string> value)
{
    record.headers.push_back({std::move(header_name), std::move(value)});
    return *this;
}

event& event::at(std::int64_t time_ms)
{
    record.timestamp = timestamp{time_ms};
    return *this;
}

event& event::in(std::int32_t number)
{
    partition = number;
    return *this;
}

row::row(const record_view& r)
    : offset{r.offset.value},
      position{r.position.value},
      version{r.version.value},
      time{r.timestamp.value},
      key{r.key},
      value{r.value}
{
    if (r.from != nullptr) from = *r.from;
    for (const header_view& h : r.headers)
        headers.push_back({std::string{h.name}, std::optional<std::string>{h.value}});
}

std::ostream& operator<<(std::ostream& out, const row& r)
{
    return out << r.from << '@' << r.offset << " position " << r.position << " version "
               << r.version << ' ' << r.key.value_or("null") << '='
               << r.value.value_or("null").substr(0, 40);
}

std::vector<row> rows(record_range& range)
{
    std::vector<row> all;
    for (const record_view& r : range) all.emplace_back(r);
    return all;
}

std::vector<row> rows(record_range&& range)
{
    return rows(range);
}

std::string text(record_range& range)
{
    std::string all;
    for (const record_view& r : range) {
        if (!all.empty()) all += ' ';
        all += r.value.value_or("null");
    }
    return all;
}

std::string text(record_range&& range)
{
    return text(range);
}

std::vector<std::int64_t> offsets(record_range&& range)
{
    std::vector<std::int64_t> all;
    for (const record_view& r : range) all.push_back(r.offset.value);
    return all;
}

std::vector<std::int64_t> positions(record_range&& range)
{
    std::vector<std::int64_t> all;
    for (const record_view& r : range) all.push_back(r.position.value);
    return all;
}

std::vector<std::int64_t> versions(record_range&& range)
{
    std::vector<std::int64_t> all;
    for (const record_view& r : range) all.push_back(r.version.value);
    return all;
}

// ---- Complaints. -----------------------------------------------------------------------------

void check_complete(const complaint& c, std::initializer_list<std::string_view> parts)
{
    INFO(c);
    for (const std::string_view part : parts) {
        INFO("it should say: " << part);
        CHECK(c.says(part));
    }
    const bool advises = c.says("; ") || c.says(". ") || c.says(": ");
    CHECK(advises);
}

// ---- Queries. --------------------------------------------------------------------------------

query::item of_types(std::vector<std::string> types)
{
    return {std::move(types), {}};
}

query::item of_tags(std::vector<std::string> tags)
{
    return {{}, std::move(tags)};
}

query::item of(std::vector<std::string> types, std::vector<std::string> tags)
{
    return {std::move(types), std::move(tags)};
}

// ---- Batches. --------------------------------------------------------------------------------

std::string kafka_batch(const std::vector<append_record>& records,
                        const batch_builder::options& options, timestamp now)
{
    batch_builder b;
    b.start(options);
    for (const append_record& r : records)
        b.add(r.record.timestamp.value_or(now), r.record.key, r.record.value, r.record.headers);
    return std::string{b.finish()};
}

std::string producer::batch(std::int32_t sequence, int count) const
{
    std::vector<append_record> records;
    for (int i = 0; i < count; ++i) {
        // As Kafka counts: after 2^31 - 1 comes 0.
        const auto s = static_cast<std::int32_t>(
            (static_cast<std::uint32_t>(sequence) + static_cast<std::uint32_t>(i)) & 0x7fff'ffffu);
        records.push_back(event("", no_key, "s" + std::to_string(s)));
    }
    return kafka_batch(records, {.producer_id    = id,
                                 .producer_epoch = epoch,
                                 .base_sequence  = sequence});
}

// ---- Threads. --------------------------------------------------------------------------------

void at_once(const std::vector<std::function<void()>>& jobs)
{
    std::barrier                    start{static_cast<std::ptrdiff_t>(jobs.size())};
    std::vector<std::exception_ptr> thrown(jobs.size());
    std::vector<std::thread>        threads;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
        threads.emplace_back([&, i] {
            start.arrive_and_wait();
            try {
                jobs[i]();
            } catch (...) {
                thrown[i] = std::current_exception();
            }
        });
    }
    for (std::thread& t : threads) t.join();
    for (const std::exception_ptr& e : thrown)
        if (e) std::rethrow_exception(e);
}

// ---- The log. --------------------------------------------------------------------------------

namespace {

constexpr kind_of_log memory{.name = "a log in memory"};
constexpr kind_of_log memory_churned{.name = "a log in memory, churned", .churned = true};
constexpr kind_of_log disk{.name = "a log in a directory", .on_disk = true};
constexpr kind_of_log disk_churned{
    .name = "a log in a directory, churned", .on_disk = true, .churned = true};
constexpr kind_of_log disk_reopened{
    .name = "a log in a directory, reopened before each reading", .on_disk = true,
    .reopened = true};

}  // namespace

log_under_test::log_under_test(const kind_of_log& kind)
    : kind_{kind}, message_{Catch::MessageBuilder{"INFO", CATCH_INTERNAL_LINEINFO,
                                                  Catch::ResultWas::Info}
                            << "on " << kind.name}
{
    options.clock         = [this] { return timestamp{now_.load()}; };
    options.journal_bytes = 4ull << 20;
    options.merge_interval = std::chrono::milliseconds{20};
    if (kind.churned) {
        options.merge_interval          = std::chrono::milliseconds{1};
        options.merge_bytes             = 4096;
        options.segment_bytes_max       = 64 << 10;
        options.index_entries_in_memory = 4;
    }
}

log_under_test::~log_under_test() = default;

commit_log& log_under_test::log()
{
    if (!log_)
        log_ = kind_.on_disk ? commit_log::open(data(), options) : commit_log::in_memory(options);
    return *log_;
}

commit_log& log_under_test::reading()
{
    if (kind_.reopened) {
        if (reopened_ % 2 == 1)
            reopen_without_index();
        else
            reopen();
    }
    return log();
}

void log_under_test::reopen()
{
    ++reopened_;
    if (kind_.on_disk)
        close();
    else
        log().merge();
    log();
}

void log_under_test::reopen_without_index()
{
    ++reopened_;
    if (kind_.on_disk) {
        close();
        fs::remove_all(fs::path{data()} / "index");
    } else {
        log().merge();
    }
    log();
}

void log_under_test::close()
{
    if (log_) log_->close();
    log_.reset();
}

void log_under_test::topic(const std::string& name, std::int32_t partitions, const settings& s)
{
    topic_config config;
    for (const auto& [key, value] : s) config.set(key, value);
    log().create_topic(name, partitions, config);
}

receipt log_under_test::append(std::vector<append_record> records)
{
    append_request request;
    request.records = std::move(records);
    return append(request);
}

receipt log_under_test::append(std::string topic, std::optional<std::string> key,
                               std::optional<std::string> value)
{
    return append({event(std::move(topic), std::move(key), std::move(value))});
}

receipt log_under_test::append(const append_request& request)
{
    receipt r = log().append(request);
    churn();
    return r;
}

append_result log_under_test::attempt(const append_request& request)
{
    append_result r = log().try_append(request);
    churn();
    return r;
}

receipt log_under_test::append_batch(const std::string& topic, std::int32_t partition,
                                     bytes_view batch)
{
    receipt r = log().partition(topic, partition).append_batch(batch);
    churn();
    return r;
}

std::uint64_t log_under_test::roll_and_clean()
{
    log().merge();
    log().roll_segment();
    return log().clean();
}

void log_under_test::churn()
{
    if (!kind_.churned) return;
    ++appended_;
    if (appended_ % 2 == 0) log().merge();
    if (appended_ % 7 == 0) log().roll_segment();
}

every_log::every_log()
    : log_under_test{GENERATE(values<kind_of_log>(
          {memory, memory_churned, disk, disk_churned, disk_reopened}))}
{
}

every_log_on_disk::every_log_on_disk()
    : log_under_test{GENERATE(values<kind_of_log>({disk, disk_churned}))}
{
}

a_log_on_disk::a_log_on_disk() : log_under_test{disk} {}

plain_log::plain_log() : log_under_test{GENERATE(values<kind_of_log>({memory, disk}))} {}

}  // namespace contract
