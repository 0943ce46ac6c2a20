// SPDX-License-Identifier: Apache-2.0
// An aggregate that lists a struct of its own, of no .capnp file.
// says: event_struct<Events>) [with Events = {bank::Deposited, Closed}]' evaluated to 'false'
#include "bank.capnp.h"

#include <cairn/framework/repository.hpp>

#ifdef MISTAKE
struct Closed
{};
#else
using bank::Closed;
#endif

using Account = cairn::aggregate<bank::Deposited, Closed>;
