// SPDX-License-Identifier: Apache-2.0
//
// The aggregate that the framework's tests use.
#pragma once

#include "bank.capnp.h"

#include <cairn/framework/aggregate.hpp>

#include <stdexcept>
#include <string>

namespace bank {

struct Open
{
    std::string  owner;
    Opened::Kind kind = Opened::Kind::CURRENT;
};
struct Deposit
{
    std::uint64_t cents;
    std::string   note{};
};
struct Withdraw
{
    std::uint64_t cents;
};
struct Move  // two events
{
    std::uint64_t out, in;
};
struct Settle  // asking twice is fine
{};
struct Blunder  // a bug in decide()
{};

inline auto opened(const std::string& owner, Opened::Kind kind = Opened::Kind::CURRENT)
{
    return cairn::event<Opened>{[&](auto e) {
        e.setOwner(owner);
        e.setKind(kind);
    }};
}
inline auto deposited(std::uint64_t cents, const std::string& note = {})
{
    return cairn::event<Deposited>{[&](auto e) {
        e.setCents(cents);
        if (!note.empty()) e.setNote(note);
    }};
}
inline auto withdrawn(std::uint64_t cents)
{
    return cairn::event<Withdrawn>{[&](auto e) { e.setCents(cents); }};
}

struct Account : cairn::aggregate<Opened, Deposited, Withdrawn>
{
    static constexpr std::uint64_t unlucky = 666;  ///< cents that apply() throws at

    std::string   owner;
    std::uint64_t cents = 0;

    decision decide(const Open& c) const
    {
        if (!owner.empty()) return cairn::reject("it is open");
        return opened(c.owner, c.kind);
    }
    decision decide(const Deposit& c) const { return deposited(c.cents, c.note); }
    decision decide(const Withdraw& c) const
    {
        if (c.cents > cents) return cairn::reject("there is not so much in it");
        return withdrawn(c.cents);
    }
    decision decide(const Move& c) const { return {withdrawn(c.out), deposited(c.in)}; }
    decision decide(const Settle&) const
    {
        if (cents == 0) return {};
        return withdrawn(cents);
    }
    decision decide(const Blunder&) const { throw std::logic_error{"a bug"}; }

    void apply(Opened::Reader e) { owner = e.getOwner().cStr(); }
    void apply(Deposited::Reader e)
    {
        if (e.getCents() == unlucky) throw std::logic_error{"a bug in apply()"};
        cents += e.getCents();
    }
    void apply(Withdrawn::Reader e) { cents -= e.getCents(); }
};

}  // namespace bank
