// SPDX-License-Identifier: Apache-2.0
// An aggregate that cannot begin without arguments.
// says: it begins as `A{}`, before its first event, and has no default constructor
// says: struct cairn::detail::must_begin<Account>
#include "bank.capnp.h"

#include <cairn/framework/repository.hpp>

struct Account : cairn::aggregate<bank::Deposited>
{
    explicit Account(int limit) : limit_{limit} {}
#ifndef MISTAKE
    Account() : Account{0} {}
#endif
    void apply(bank::Deposited::Reader) {}
    int  limit_;
};

void use(cairn::commit_log& log) { cairn::repository<Account> accounts{log, "accounts"}; }
