// SPDX-License-Identifier: Apache-2.0
// A process manager that does not say which process an event is part of.
// says: it listens to this event, and has no `static std::optional<std::string> process_of(
// says: struct cairn::detail::must_assign<Thanks, bank::Deposited>
#include "bank.capnp.h"

#include <cairn/framework/process_runner.hpp>

struct Thanks : cairn::process_manager<cairn::listens_to<bank::Deposited>>
{
#ifndef MISTAKE
    static std::string process_of(auto, const cairn::stream_id& from) { return from.key; }
#endif
    reaction react(bank::Deposited::Reader) const { return {}; }
};

void use(cairn::commit_log& log) { cairn::process_runner<Thanks> runner{log, "thanks"}; }
