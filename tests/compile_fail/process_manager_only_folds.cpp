// SPDX-License-Identifier: Apache-2.0
// A runner of what is no process manager.
// says: required for the satisfaction of 'is_process_manager<P>' [with P = Thanks]
// says: the required type 'typename P::heard' is invalid
#include "bank.capnp.h"

#include <cairn/framework/process_runner.hpp>

#ifdef MISTAKE
struct Thanks : cairn::aggregate<bank::Deposited>
#else
struct Thanks : cairn::process_manager<cairn::listens_to<bank::Deposited>>
#endif
{
#ifdef MISTAKE
    void apply(bank::Deposited::Reader) {}
#else
    static std::string process_of(auto, const cairn::stream_id& from) { return from.key; }
    reaction           react(bank::Deposited::Reader) const { return {}; }
#endif
};

void use(cairn::commit_log& log) { cairn::process_runner<Thanks> runner{log, "thanks"}; }
