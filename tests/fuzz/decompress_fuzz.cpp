// SPDX-License-Identifier: Apache-2.0
// The unpacking of each codec, on any bytes: never outside, never beyond the limit, and the same
// whatever the scratch held before. The first byte of an input says codec and limit.
#include "record/compression.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>

using namespace cairn;

namespace {

void must(bool so)
{
    if (!so) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size == 0) return 0;
    const auto        c     = static_cast<codec>(data[0] & 7);
    const std::size_t limit = std::size_t{1} << (6 + (data[0] >> 3) % 15);  // 64 B … 1 MB
    const bytes_view  bytes{reinterpret_cast<const char*>(data) + 1, size - 1};

    std::string fresh;
    batch_fault why{};
    const bool  ok = detail::unpack(c, bytes, fresh, limit, &why);
    must(fresh.size() <= limit);
    must(ok || (fresh.empty() && !why.what.empty()));

    std::string used(3 * limit / 2, 'x');
    must(detail::unpack(c, bytes, used, limit) == ok);
    must(used == fresh);

    // A larger limit changes nothing but that more is let through.
    std::string more;
    if (ok) must(detail::unpack(c, bytes, more, 2 * limit) && more == fresh);

    if (ok) {
        std::string again, back;
        detail::pack(c, fresh, again);
        must(detail::unpack(c, again, back, limit) && back == fresh);
    }
    return 0;
}
