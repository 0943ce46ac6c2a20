// SPDX-License-Identifier: Apache-2.0
#include <cairn/framework/detail/message.hpp>

#include <cairn/log/error.hpp>

#include <kj/exception.h>

#include <cstring>

namespace cairn::detail {

capnp::MessageReader& message::open(bytes_view bytes)
{
    reader_.reset();
    constexpr auto word = sizeof(capnp::word);
    if (bytes.empty() || bytes.size() % word != 0)
        throw error{errc::malformed_event, "an event of " + std::to_string(bytes.size()) +
                                               " bytes: a Cap'n Proto message has a multiple of 8"};
    const auto* words = reinterpret_cast<const capnp::word*>(bytes.data());
    const auto  count = bytes.size() / word;
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % word != 0) {
        scratch_.resize(count);
        std::memcpy(scratch_.data(), bytes.data(), bytes.size());
        words = reinterpret_cast<const capnp::word*>(scratch_.data());
    }
    try {
        reader_.emplace(kj::arrayPtr(words, count));
    } catch (const kj::Exception& e) {
        throw error{errc::malformed_event,
                    std::string{"an event is no Cap'n Proto message: "} +
                        e.getDescription().cStr()};
    }
    return *reader_;
}

}  // namespace cairn::detail
