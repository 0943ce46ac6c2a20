@0xb1f7c04d9e3a5286;

# What process managers record beside their own events, in internal topics.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("cairn::schema");
using Cairn = import "/cairn/event.capnp";

struct ProcessCheckpoint @0xa3d5e8f01c6b4792 $Cairn.version(2) {
    # In __processes, by the process manager's topic: how far it has come.

    next       @0 :Int64;
    # The position that is handled next.

    generation @1 :Int64;
    # Of its runner: one that begins raises it, and so the one before it stops.

    goingOff   @2 :Int64 = -1;
    # Of a timer that has begun to send commands, the position of the record that set it: it is what
    # is handled next. -1: there is none.

    shownMs    @3 :Int64;
    # What the clock showed when it did.
}

struct TimerSet @0xd94b60e7f2a8c315 {
    # In __timers, by "topic/process/name"; a tombstone where it has gone off or was cancelled.

    topic   @0 :Text;
    process @1 :Text;
    name    @2 :Text;
    dueMs   @3 :Int64;
}

struct CauseSkipped @0xc4f19b7e3d08a652 {
    # In a process manager's topic, by "cairn-skipped": an operator let the runner go on behind
    # something that it could not handle.

    position @0 :Int64;
    # Of the event; of a timer that of the record that set it.

    reason   @1 :Text;
    # What the operator said.

    failure  @2 :Text;
    # What the runner said.
}

struct OutboxCheckpoint @0xe86a0d3bf17c5924 {
    # In __outboxes, by the outbox's topic: how far it has come.

    next       @0 :List(Int64);
    # The offset that is delivered next, by partition.

    parkedNext @1 :Int64;
    # Of what was parked, the offset that is tried again next.

    generation @2 :Int64;
    # As a process manager's.
}
