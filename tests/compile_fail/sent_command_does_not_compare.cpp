// SPDX-License-Identifier: Apache-2.0
// A test of a process manager with a command that cannot be compared.
// says: a test compares this command: give it `friend bool operator==(const C&, const C&)
#include "bank.capnp.h"

#include <cairn/framework/testing_process.hpp>

struct Withdraw
{
    std::uint64_t cents;
#ifndef MISTAKE
    friend bool operator==(const Withdraw&, const Withdraw&) = default;
#endif
};
struct Account : cairn::aggregate<bank::Withdrawn>
{
    decision decide(const Withdraw&) const { return {}; }
    void     apply(bank::Withdrawn::Reader) {}
};

void use(const cairn::testing::reacted& r) { (void)r.then_sends<Account>("ada", Withdraw{1}); }
