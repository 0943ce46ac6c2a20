// SPDX-License-Identifier: Apache-2.0
// A process manager that listens to an event and does not react to it.
// says: it listens to this event, and has no `reaction react(Event::Reader) const`
// says: struct cairn::detail::must_react<Thanks, bank::Withdrawn>
#include "bank.capnp.h"

#include <cairn/framework/process_runner.hpp>

struct Thanks : cairn::process_manager<cairn::listens_to<bank::Deposited, bank::Withdrawn>>
{
    static std::string process_of(auto, const cairn::stream_id& from) { return from.key; }

    reaction react(bank::Deposited::Reader) const { return {}; }
#ifdef MISTAKE
    reaction react(bank::Withdrawn::Reader) { return {}; }  // not const
#else
    reaction react(bank::Withdrawn::Reader) const { return {}; }
#endif
};

void use(cairn::commit_log& log) { cairn::process_runner<Thanks> runner{log, "thanks"}; }
