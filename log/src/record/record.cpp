// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/record.hpp>
#include <cairn/log/record_batch.hpp>

#include "record/varint.hpp"

namespace cairn {

header_range::iterator::iterator(const char* at, const char* end, std::size_t left) noexcept
    : at_{at}, end_{end}, left_{left}
{
    if (left_ != 0) parse();
}

header_range::iterator& header_range::iterator::operator++() noexcept
{
    if (--left_ != 0) parse();
    return *this;
}

// The cursor that made the range has checked it. A range can be made of any bytes, though, so
// where they do not parse the iteration ends, rather than reading outside.
void header_range::iterator::parse() noexcept
{
    std::int32_t size = 0;
    if (!detail::read_varint(at_, end_, size) || size < 0 || size > end_ - at_) {
        left_ = 0;
        return;
    }
    current_.name = {at_, static_cast<std::size_t>(size)};
    at_ += size;

    if (!detail::read_varint(at_, end_, size) || size < -1 || size > end_ - at_) {
        left_ = 0;
        return;
    }
    if (size < 0) {
        current_.value.reset();
    } else {
        current_.value.emplace(at_, static_cast<std::size_t>(size));
        at_ += size;
    }
}

std::optional<bytes_view> header_range::find(std::string_view name) const noexcept
{
    for (const auto& h : *this)
        if (h.name == name) return h.value;
    return std::nullopt;
}

std::size_t record_bytes(const record& r) noexcept
{
    using detail::max_varint_bytes;
    using detail::max_varlong_bytes;

    // Length, attributes, two deltas, two lengths, header count.
    std::size_t bytes = 1 + max_varlong_bytes + 5 * max_varint_bytes;
    if (r.key) bytes += r.key->size();
    if (r.value) bytes += r.value->size();
    for (const auto& h : r.headers) {
        bytes += 2 * max_varint_bytes + h.name.size();
        if (h.value) bytes += h.value->size();
    }
    return bytes;
}

}  // namespace cairn
