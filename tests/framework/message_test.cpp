// SPDX-License-Identifier: Apache-2.0
#include "account.hpp"
#include "main/complaint.hpp"

#include <cairn/framework/detail/message.hpp>

#include <catch2/catch.hpp>

using namespace cairn;
using namespace cairn::testing;
using namespace bank;

namespace {

/// The same bytes at an odd address, so that they are copied.
struct misaligned
{
    explicit misaligned(const any_event& e) : bytes{" " + std::string{e.bytes()}} {}
    bytes_view  view() const { return bytes_view{bytes}.substr(1); }
    std::string bytes;
};

}  // namespace

TEST_CASE("open() leaves nothing of the message before it")
{
    const misaligned long_one{deposited(7, std::string(1000, 'x'))}, short_one{deposited(8)};

    detail::message m;
    for (const bool aligned : {false, true}) {
        const std::string whole{deposited(9, "note").bytes()};
        (void)m.open(aligned ? bytes_view{whole} : long_one.view());
        const auto now = m.open(short_one.view()).getRoot<Deposited>();
        CHECK(now.getCents() == 8);
        CHECK_FALSE(now.hasNote());
        CHECK(now.totalSize().wordCount == deposited(8).read()->totalSize().wordCount);
        // A pointer past its end finds nothing where the long one was.
        auto              beyond = short_one;
        const std::size_t note   = 1 + 8 + 8 + 8;  // behind framing, root pointer and cents
        beyond.bytes[note]       = 1;              // a list that begins where the message ends, ...
        beyond.bytes[note + 4]   = 10 << 3 | 2;    // ... of ten bytes
        CHECK_THROWS(m.open(beyond.view()).getRoot<Deposited>().getNote());
    }
}

TEST_CASE("what is no message is said, whatever was opened before it")
{
    const misaligned  good{deposited(7)};
    const std::string cut{good.view().substr(0, 16)};
    detail::message   m;
    for (const auto bytes : {bytes_view{}, bytes_view{"text"}, bytes_view{cut}}) {
        (void)m.open(good.view());
        CHECK(code_of([&] { (void)m.open(bytes); }) == errc::malformed_event);
    }
    CHECK(m.open(good.view()).getRoot<Deposited>().getCents() == 7);
}
