// SPDX-License-Identifier: Apache-2.0
// A command that the aggregate does not decide.
// says: the required expression 'state.decide(command)' is invalid
#include "bank.capnp.h"

#include <cairn/framework/repository.hpp>

struct Close
{};
struct Reopen
{};

struct Account : cairn::aggregate<bank::Closed>
{
    decision decide(const Close&) const { return {}; }
    void     apply(bank::Closed::Reader) {}
};

void use(cairn::repository<Account>& accounts)
{
    (void)accounts.execute("ada", Close{});
#ifdef MISTAKE
    (void)accounts.execute("ada", Reopen{});
#endif
}
