// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/projections/detail/json_text.hpp>
#include <cairn/projections/feed_sink.hpp>
#include <cairn/projections/table.hpp>

#include <string>
#include <utility>
#include <vector>

namespace cairn {

/// What a projection tells the world outside: lines of JSON, to a file or a webhook.
///
///     json_feed<std::string, std::uint64_t> spent{this, "spent", {"customer", "cents"}};
///
///     spent.emit(e.getCustomer(), e.getTotalCents());
///
/// Where it goes is said to the runner, in projection_options::feeds. A line is
///
///     {"id":"revenue/spent/orders-0/17/0","feed":"spent","projection":"revenue","topic":"orders",
///      "partition":0,"offset":17,"position":4711,"key":"Ada","value":1200}
///
/// Key and value are of the types that a table has. One column is written as it is, several as an
/// object of their names. Times and enums are numbers; lists, and structs in structs, are arrays,
/// maps by text are objects; floating point that is no number is null.
///
/// Invariants
///   - At least once: each line of an event is delivered before the tables that count the event
///     are committed. A crash between the two makes it come again.
///   - A line's id is the same each time, however batches fall and whichever version of the tables
///     makes it: projection, feed, partition, offset of the event, and which of the event's lines
///     it is. By it the receiver knows a repeat.
///   - Lines of one partition are delivered in the order of their events.
///   - A version that is being rebuilt delivers nothing, until it answers. Then it goes on where
///     the one before it was.
///
/// Threads   Those of its projection.
/// Lifetime  A member of its projection.
/// Errors    not_writing where it is given a line outside of on(). Its sink's, from the runner.
template <class Key, class Value>
class json_feed
{
public:
    /// `columns` names those of the key, then those of the value, as a table does.
    json_feed(projection_base* owner, std::string name, std::vector<std::string> columns = {})
        : lines_{detail::access_of(*owner).feeds()},
          number_{lines_.add(
              {std::move(name), detail::columns_of<Key, true>(), detail::columns_of<Value>()},
              std::move(columns))}
    {
    }
    json_feed(const json_feed&)            = delete;
    json_feed& operator=(const json_feed&) = delete;

    void emit(const Key& key, const Value& value)
    {
        if (!lines_.wants(number_)) return;
        auto text = with_key(key);
        detail::put_json_row<false>(text, lines_.shape(number_).value, value);
        lines_.emit(number_, std::move(text));
    }
    /// There is none of that key any more: its value is null.
    void emit_erased(const Key& key)
    {
        if (!lines_.wants(number_)) return;
        lines_.emit(number_, with_key(key) + "null");
    }

private:
    std::string with_key(const Key& key) const
    {
        std::string text = "\"key\":";
        detail::put_json_row<true>(text, lines_.shape(number_).key, key);
        text += ",\"value\":";
        return text;
    }

    detail::feed_lines& lines_;
    std::size_t         number_;
};

}  // namespace cairn
