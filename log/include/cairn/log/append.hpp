// SPDX-License-Identifier: Apache-2.0
//
// What is to be recorded, on what condition, and what came of it.
#pragma once

#include <cairn/log/error.hpp>
#include <cairn/log/ids.hpp>
#include <cairn/log/record.hpp>

#include <boost/system/result.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace cairn {

/// The headers that the log reads to index a record. They are CloudEvents attributes in
/// Kafka's binary binding; all are optional.
namespace header_names {
inline constexpr std::string_view type        = "ce_type";        ///< what queries call its type
inline constexpr std::string_view data_schema = "ce_dataschema";  ///< likewise, if "capnp:…"
inline constexpr std::string_view tags        = "ce_tags";        ///< see join_tags()
inline constexpr std::string_view command_id  = "ce_commandid";   ///< the append that it is of
}  // namespace header_names

/// Tags as one header value: joined by commas, a comma in a tag written %2C, a percent sign %25.
/// Throws empty_tag.
std::string              join_tags(const std::vector<std::string>& tags);
std::vector<std::string> split_tags(std::string_view joined);

/// What a stream must be like for an append to happen.
class expected_version
{
public:
    static constexpr expected_version any() noexcept { return expected_version{-3}; }
    static constexpr expected_version exists() noexcept { return expected_version{-2}; }
    static constexpr expected_version no_stream() noexcept { return expected_version{0}; }

    /// The stream has exactly that many records. exactly(0) is no_stream().
    /// REQUIRES: v >= 0, else invalid_argument is thrown.
    static constexpr expected_version exactly(version v)
    {
        if (v.value < 0)
            throw error{errc::invalid_argument,
                        "a stream cannot have fewer than no records: expect a version from 0 on"};
        return expected_version{v.value};
    }

    constexpr bool is_any() const noexcept { return code_ == -3; }
    constexpr bool accepts(version found) const noexcept
    {
        return code_ == -3 || (code_ == -2 ? found.value > 0 : found.value == code_);
    }
    /// "any", "exists", "no_stream", or the number.
    std::string text() const;

    /// The reverse of text(); also "0". Throws invalid_argument.
    static expected_version parse(std::string_view text);

    friend constexpr bool operator==(expected_version, expected_version) = default;

private:
    constexpr explicit expected_version(std::int64_t code) noexcept : code_{code} {}

    std::int64_t code_;
};

/// Which records: any item matches. An item matches when the record's type is one of `types`
/// (if there are any) and it has all of `tags` (if there are any). An item with neither, or
/// query::all(), matches every record. A query without items matches none.
struct query
{
    struct item
    {
        std::vector<std::string> types{};
        std::vector<std::string> tags{};

        friend bool operator==(const item&, const item&) = default;
    };
    std::vector<item> items{};

    static query all() { return query{{item{}}}; }

    friend bool operator==(const query&, const query&) = default;
};

/// A dynamic consistency boundary: the append is refused if any record that matches has a
/// position greater than `after`. Without `after` all of history counts. It is evaluated against
/// what is committed before the append, not against the append itself.
struct boundary
{
    query                   matching;
    std::optional<position> after{};
};

struct stream_condition
{
    stream_id        stream;
    expected_version expected;
};

/// One record of an append, and where it goes: the log's partitioner chooses the partition
/// unless one is named. A key makes it a record of the stream of that key in that partition; read
/// and expected by topic and key is the one in the partition that the partitioner chooses.
struct append_record
{
    std::string                 topic;
    cairn::record               record{};
    std::optional<std::int32_t> partition{};
};

/// All of it is recorded, in this order and at adjacent positions, or nothing is.
struct append_request
{
    std::vector<append_record>    records{};
    std::vector<stream_condition> expect{};      ///< each must hold
    std::vector<boundary>         boundaries{};  ///< each must hold
    /// With it, a repeat is answered with the receipt of the first, also after a restart (or with
    /// command_reused, where retention has removed its records since; nothing is recorded). It is
    /// stored in each record as the header ce_commandid. A repeat need not carry the same
    /// records: the id alone says that it is one.
    std::optional<std::string> command_id{};
};

/// Where one record of an append went.
struct placement
{
    topic_partition at;
    cairn::offset   offset;
    cairn::version  version{-1};  ///< in its stream; -1: it has no key

    friend bool operator==(const placement&, const placement&) = default;
};

/// What was just recorded; also what a repeat is told.
struct receipt
{
    position               first;             ///< of the first record; the others follow
    std::vector<placement> records;           ///< in the order of the request
    bool                   repeated = false;  ///< it had been recorded before

    /// The position of the last record: what read-your-writes waits for.
    position last() const noexcept
    {
        return first + static_cast<std::int64_t>(records.size()) - 1;
    }
};

/// Why an append was refused; nothing of it was recorded.
struct refusal
{
    errc        code;
    std::string what;  ///< a sentence: which condition, what was expected, what was found

    /// wrong_expected_version: the stream, and its version (0: there is none).
    std::optional<stream_id> stream;
    version                  found_version{-1};

    /// boundary_crossed: which boundary of the request, and the newest record that matches.
    std::size_t             boundary_index = 0;
    std::optional<position> found_position;
};

/// What value() throws for a refusal.
class append_refused : public error
{
public:
    explicit append_refused(refusal r) : error{r.code, r.what}, why_{std::move(r)} {}

    const refusal& why() const noexcept { return why_; }

private:
    refusal why_;
};

[[noreturn]] void throw_exception_from_error(const refusal& r, const boost::source_location&);

using append_result = boost::system::result<receipt, refusal>;

}  // namespace cairn
