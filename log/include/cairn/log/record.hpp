// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cairn/log/ids.hpp>

#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

namespace cairn {

/// A record header as it lies in a batch. The name is UTF-8; the value is bytes or null.
struct header_view
{
    std::string_view          name;
    std::optional<bytes_view> value;

    friend bool operator==(const header_view&, const header_view&) = default;
};

/// A record header that owns its bytes.
struct header
{
    std::string                name;
    std::optional<std::string> value;

    friend bool operator==(const header&, const header&) = default;
};

/// The headers of a record, parsed as one goes: a forward range of header_view.
///
/// Invariants
///   - bytes() is size() encoded headers and nothing more: the cursor that made the range has
///     checked it, so that iterating cannot fail. In a range made of other bytes the iteration
///     ends at the first header that does not parse.
///
/// Threads   A value; const members on any thread.
/// Lifetime  Views into the batch. The reference that *i gives is good until i moves on.
/// Errors    None. Nothing outside the bytes is read, whatever they are.
class header_range
{
public:
    class iterator
    {
    public:
        using value_type       = header_view;
        using difference_type  = std::ptrdiff_t;
        using reference        = const header_view&;
        using pointer          = const header_view*;
        using iterator_concept = std::forward_iterator_tag;
        using iterator_category = std::input_iterator_tag;

        iterator() = default;
        iterator(const char* at, const char* end, std::size_t left) noexcept;

        reference operator*() const noexcept { return current_; }
        pointer   operator->() const noexcept { return &current_; }
        iterator& operator++() noexcept;
        iterator  operator++(int) noexcept
        {
            auto old = *this;
            ++*this;
            return old;
        }
        friend bool operator==(const iterator& a, const iterator& b) noexcept
        {
            return a.left_ == b.left_;
        }

    private:
        void parse() noexcept;

        const char* at_   = nullptr;  // after the current header
        const char* end_  = nullptr;
        std::size_t left_ = 0;        // headers from the current one on
        header_view current_;
    };

    header_range() = default;
    header_range(bytes_view bytes, std::size_t count) noexcept : bytes_{bytes}, count_{count} {}

    iterator begin() const noexcept
    {
        return {bytes_.data(), bytes_.data() + bytes_.size(), count_};
    }
    iterator    end() const noexcept { return {}; }
    std::size_t size() const noexcept { return count_; }
    bool        empty() const noexcept { return count_ == 0; }

    /// The headers as they are encoded, without their count.
    bytes_view bytes() const noexcept { return bytes_; }

    /// The value of the first header of that name; nullopt where there is none or it is null.
    std::optional<bytes_view> find(std::string_view name) const noexcept;

private:
    bytes_view  bytes_;
    std::size_t count_ = 0;
};

/// A record as it was read. Copy what must outlive the view.
struct record_view
{
    cairn::offset             offset;
    cairn::position           position;
    cairn::timestamp          timestamp;
    std::optional<bytes_view> key;
    std::optional<bytes_view> value;
    header_range              headers;

    /// Its version in its stream, where it was read as part of one; else -1.
    cairn::version version{-1};

    /// The partition that it was read from; null where it was read from bare bytes.
    const topic_partition* from = nullptr;
};

/// A record to be written. It owns its bytes.
struct record
{
    std::optional<std::string>      key{};
    std::optional<std::string>      value{};
    std::vector<header>             headers{};
    std::optional<cairn::timestamp> timestamp{};  ///< none: the time of the append
};

}  // namespace cairn
