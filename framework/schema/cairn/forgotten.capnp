@0x8d27f4b1c90e6a35;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("cairn");
using Cairn = import "/cairn/event.capnp";

struct SubjectForgotten @0xf0b3c81d5e9a4276 {
    # The keys of this person were destroyed: whoever keeps a copy of what was personal forgets it.

    subject @0 :Text $Cairn.tag("subject");
}
