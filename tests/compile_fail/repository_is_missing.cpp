// SPDX-License-Identifier: Apache-2.0
// A runner without a repository of the aggregate that its process manager sends to; and one that
// sends to what it does not list.
// says: a process manager sends to an aggregate, and its runner has no repository of that
// says: react() sends to an aggregate that its process manager does not list: name it in
#include "bank.capnp.h"

#include <cairn/framework/process_runner.hpp>

struct Close
{};
template <int>
struct Account : cairn::aggregate<bank::Closed>
{
    decision decide(const Close&) const { return {}; }
    void     apply(bank::Closed::Reader) {}
};

struct Closing : cairn::process_manager<cairn::listens_to<bank::Withdrawn>,
                                        cairn::sends_to<Account<1>>>
{
    static std::string process_of(auto, const cairn::stream_id& from) { return from.key; }

    reaction react(bank::Withdrawn::Reader) const
    {
#ifdef MISTAKE
        return reaction{}.send<Account<2>>("ada", Close{});
#else
        return reaction{}.send<Account<1>>("ada", Close{});
#endif
    }
};

void use(cairn::commit_log& log, cairn::repository<Account<1>>& accounts)
{
#ifdef MISTAKE
    cairn::process_runner<Closing> runner{log, "closing"};
    (void)accounts;
#else
    cairn::process_runner<Closing> runner{log, "closing", accounts};
#endif
}
