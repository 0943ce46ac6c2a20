#pragma once

#include "account.capnp.h"

#include <cairn/framework/aggregate.hpp>

namespace bank {

//[ account
struct Deposit  { std::uint64_t cents; };
struct Withdraw { std::uint64_t cents; };

auto deposited(auto cents) { return cairn::event<Deposited>{[=](auto e) { e.setCents(cents); }}; }
auto withdrawn(auto cents) { return cairn::event<Withdrawn>{[=](auto e) { e.setCents(cents); }}; }

struct Account : cairn::aggregate<Deposited, Withdrawn>
{
    std::uint64_t cents = 0;

    decision decide(const Deposit& c) const { return deposited(c.cents); }
    decision decide(const Withdraw& c) const
    {
        if (c.cents > cents) return cairn::reject("there is not so much in the account");
        return withdrawn(c.cents);
    }

    void apply(Deposited::Reader e) { cents += e.getCents(); }
    void apply(Withdrawn::Reader e) { cents -= e.getCents(); }
};
//]

}  // namespace bank
