// SPDX-License-Identifier: Apache-2.0
//
// The language of the contract suite. A case that is a method of `every_log` runs against each
// kind of log that there is; what it says in this language means the same on all of them.
//
//     TEST_CASE_METHOD(every_log, "a stream is read in the order of its versions")
//     {
//         topic("orders", 3);
//         append({event("orders", "o-1", "placed"), event("orders", "o-1", "paid")});
//         CHECK(text(reading().read_stream({"orders", "o-1"})) == "placed paid");
//     }
#pragma once

#include <cairn/log/commit_log.hpp>

#include "main/complaint.hpp"
#include "main/temporary_directory.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace cairn {

std::ostream& operator<<(std::ostream& out, errc code);
std::ostream& operator<<(std::ostream& out, const placement& p);
std::ostream& operator<<(std::ostream& out, const header& h);

}  // namespace cairn

namespace contract {

using namespace cairn;  // NOLINT: the tests of one namespace

namespace fs = std::filesystem;

/// A record on its way: topic, key (or none), value, and what else is said of it.
struct event : append_record
{
    event(std::string topic, std::optional<std::string> key, std::optional<std::string> value);

    event& type(std::string name);
    event& tags(const std::vector<std::string>& all);
    event& with(std::string name, std::optional<std::string> value);
    event& at(std::int64_t time_ms);
    event& in(std::int32_t number);
};

constexpr auto no_key = std::nullopt;
constexpr auto null   = std::nullopt;

/// A record as it was read, with its bytes copied out.
struct row
{
    topic_partition            from;
    std::int64_t               offset   = -1;
    std::int64_t               position = -1;
    std::int64_t               version  = -1;
    std::int64_t               time     = -1;
    std::optional<std::string> key;
    std::optional<std::string> value;
    std::vector<header>        headers;

    explicit row(const record_view& r);

    friend bool          operator==(const row&, const row&) = default;
    friend std::ostream& operator<<(std::ostream& out, const row& r);
};

/// What is left of a range, up to what is there.
std::vector<row> rows(record_range& range);
std::vector<row> rows(record_range&& range);

/// The values, with spaces between; "null" for a null.
std::string text(record_range& range);
std::string text(record_range&& range);

std::vector<std::int64_t> offsets(record_range&& range);
std::vector<std::int64_t> positions(record_range&& range);
std::vector<std::int64_t> versions(record_range&& range);

using cairn::testing::complaint;

/// What was thrown. Fails the test when nothing was.
template <class F>
complaint complaint_of(F&& f)
{
    auto c = cairn::testing::complaint_of(std::forward<F>(f));
    if (!c) FAIL("nothing was thrown");
    return *std::move(c);
}

/// A complaint that a person can act on: besides its code it says what happened, names what it
/// is about, and says what to do next (behind a colon, a semicolon or a full stop).
void check_complete(const complaint& c, std::initializer_list<std::string_view> parts);

/// Query items, briefly.
query::item of_types(std::vector<std::string> types);
query::item of_tags(std::vector<std::string> tags);
query::item of(std::vector<std::string> types, std::vector<std::string> tags);

/// A batch as a Kafka client makes it, of the records' times (or `now`), keys, values, headers.
std::string kafka_batch(const std::vector<append_record>& records,
                        const batch_builder::options&     options = {},
                        timestamp                         now     = timestamp{1'700'000'000'000});

/// A producer's batch of `count` records with the values "s<sequence>".
struct producer
{
    std::int64_t id;
    std::int16_t epoch = 0;

    std::string batch(std::int32_t sequence, int count = 1) const;
};

/// Starts each job at the same moment on a thread of its own; waits for all, and throws what
/// the first of them threw. (Catch2 counts on one thread only: no CHECK in a job.)
void at_once(const std::vector<std::function<void()>>& jobs);

/// One kind of log that must keep the contract.
struct kind_of_log
{
    const char* name;
    bool        on_disk  = false;
    bool        churned  = false;  ///< merged and rolled between appends
    bool        reopened = false;  ///< before each reading
};

class log_under_test
{
public:
    explicit log_under_test(const kind_of_log& kind);
    ~log_under_test();
    log_under_test(const log_under_test&)            = delete;
    log_under_test& operator=(const log_under_test&) = delete;

    // ---- Before the log is first used. ---------------------------------------------------

    log_options options;

    // ---- The log. ------------------------------------------------------------------------

    commit_log& log();

    /// The log, for a look at what is in it: on some kinds, opened anew first. Handles and
    /// ranges of before are no longer good then.
    commit_log& reading();

    /// Closes and opens it where it is on disk; merges where it is in memory.
    void reopen();

    /// As reopen(), with the index deleted meanwhile.
    void reopen_without_index();

    void close();

    bool        on_disk() const noexcept { return kind_.on_disk; }
    fs::path    directory() const { return scratch_.path(); }
    std::string data() const { return scratch_ / "data"; }

    // ---- Doing. --------------------------------------------------------------------------

    using settings = std::vector<std::pair<std::string, std::string>>;

    void topic(const std::string& name, std::int32_t partitions = 1, const settings& s = {});

    receipt append(std::vector<append_record> records);
    receipt append(std::string topic, std::optional<std::string> key,
                   std::optional<std::string> value);

    /// append() and try_append(), churning the log where its kind says so.
    receipt       append(const append_request& request);
    append_result attempt(const append_request& request);

    receipt append_batch(const std::string& topic, std::int32_t partition, bytes_view batch);

    /// Seals what there is, so that cleaning may look at it; then cleans.
    std::uint64_t roll_and_clean();

    // ---- The time of day, which the test alone moves. ------------------------------------

    static constexpr std::int64_t start_of_time = 1'700'000'000'000;

    std::int64_t now() const noexcept { return now_; }
    void         pass(std::int64_t ms) noexcept { now_ += ms; }

private:
    void churn();

    kind_of_log                         kind_;
    Catch::ScopedMessage                message_;
    cairn::testing::temporary_directory scratch_{cairn::testing::place::disk};
    std::atomic<std::int64_t>           now_ = start_of_time;
    std::optional<commit_log>           log_;
    int                                 appended_ = 0;
    int                                 reopened_ = 0;
};

/// Each kind in turn.
class every_log : public log_under_test
{
public:
    every_log();
};

/// Those that are in a directory, plain and churned.
class every_log_on_disk : public log_under_test
{
public:
    every_log_on_disk();
};

/// One log, in a directory.
class a_log_on_disk : public log_under_test
{
public:
    a_log_on_disk();
};

/// The plain log in memory and the plain log in a directory: for cases about threads, which
/// would only be slow on more.
class plain_log : public log_under_test
{
public:
    plain_log();
};

}  // namespace contract
