// SPDX-License-Identifier: Apache-2.0
// An outbox whose function does not take its message.
// says: the outbox lists this message, and its function does not take (Message::Reader, const
#include "bank.capnp.h"

#include <cairn/framework/outbox.hpp>

void use(cairn::commit_log& log)
{
#ifdef MISTAKE
    cairn::outbox<bank::Opened> mails{log, "mails", [](bank::Opened::Reader) {}};
#else
    cairn::outbox<bank::Opened> mails{
        log, "mails", [](bank::Opened::Reader, const cairn::delivery&) {}};
#endif
}
