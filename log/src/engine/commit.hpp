// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "../index/index.hpp"
#include "gate.hpp"
#include "state.hpp"

#include <cairn/log/append.hpp>
#include <cairn/log/record_batch.hpp>

#include <boost/container/small_vector.hpp>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cairn::detail {

/// One append on its way: what is asked, what was looked up beforehand, what came of it.
///
/// Lifetime  On the appender's stack. The leader of its group uses it until the gate opens.
struct pending_append
{
    /// Most appends are of a record or two, and then allocate nothing here.
    template <class T, std::size_t N>
    using small_vector = boost::container::small_vector<T, N>;

    struct place
    {
        topic_ptr                topic;
        std::int32_t             number = 0;
        std::uint32_t            uid    = 0;
        std::uint32_t            at     = 0;  // batches: known beforehand
        std::uint32_t            check  = 0;  // likewise
        std::uint32_t            bytes  = 0;  // records: at most, encoded
        term                     stream;
        term                     command;
        std::uint32_t            first_term = 0;
        std::uint32_t            terms      = 0;
        lookup_hint<stream_head> head;
        lookup_hint<stream_head>* known = nullptr;  ///< `head`, or that of the same stream before
        cairn::version            version{-1};      ///< given in the commit step
    };
    struct stream_check
    {
        term                     stream;
        lookup_hint<stream_head> head;
    };
    struct boundary_check
    {
        query_terms                          query;
        lookup_hint<std::optional<position>> match;
    };

    // What is asked: records, or one batch as a client made it.
    const append_request*                           request = nullptr;
    const std::function<void(const folded_state&)>* valid   = nullptr;
    bool                                            own     = false;
    std::string_view                                subject;  ///< see engine::append_own()
    const batch_view*                               batch   = nullptr;
    topic_ptr                                       batch_topic;
    std::int32_t                                    batch_number    = 0;
    std::uint32_t                                   batch_uid       = 0;
    bool                                            log_append_time = false;

    // What was looked up.
    std::uint64_t                 topics_epoch = 0;
    std::uint64_t                 bytes        = 0;  ///< at most, in the journal
    small_vector<place, 1>        places;
    small_vector<term, 4>         terms;
    small_vector<stream_check, 1> streams;
    std::vector<boundary_check>   boundaries;
    term                          command;
    std::string                   scratch;

    // What came of it: one of these.
    receipt                                         result;
    std::optional<refusal>                          refused;
    std::optional<std::pair<position, std::int64_t>> repeat;
    bool                                            again = false;  ///< in another group
    std::exception_ptr                              error;
};

/// Appends that share a flush. The first member leads.
struct commit_group
{
    boost::container::small_vector<pending_append*, 4> members;
    std::uint64_t                                      bytes = 0;
    gate                                               done;
};

/// Adds the terms that a record's headers name: the command, and types and tags where queries show
/// the record. False: there are more than an index entry takes, and those beyond are left out.
template <class Headers, class Terms>
bool collect_terms(const term_hasher& hasher, const Headers& headers, bool shown, Terms& terms,
                   term& command)
{
    constexpr std::size_t terms_max = 255;  // as index_entry has it

    bool       all   = true;
    const auto first = terms.size();
    const auto add   = [&](const term& t) {
        for (auto i = first; i < terms.size(); ++i)
            if (terms[i] == t) return;
        if (terms.size() - first < terms_max)
            terms.push_back(t);
        else
            all = false;
    };
    for (const auto& h : headers) {
        if (!h.value || h.name.size() < 7 || h.name[0] != 'c' || h.name[2] != '_') continue;
        const bytes_view value{*h.value};
        if (h.name == header_names::command_id) {
            command = hasher.command(value);
        } else if (!shown) {
            continue;
        } else if (h.name == header_names::type) {
            add(hasher.type(value));
        } else if (h.name == header_names::data_schema) {
            if (value.starts_with("capnp:")) add(hasher.type(value));
        } else if (h.name == header_names::tags) {
            if (value.find('%') != bytes_view::npos) {
                for (const auto& tag : split_tags(value)) add(hasher.tag(tag));
                continue;
            }
            for (auto rest = value; !rest.empty();) {
                const auto comma = rest.find(',');
                if (comma != 0) add(hasher.tag(rest.substr(0, comma)));
                rest.remove_prefix(comma == bytes_view::npos ? rest.size() : comma + 1);
            }
        }
    }
    return all;
}

}  // namespace cairn::detail
