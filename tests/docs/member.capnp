@0xd7c3a95e10f8b264;

using Cxx = import "/capnp/c++.capnp";
using Cairn = import "/cairn/event.capnp";
$Cxx.namespace("club");

struct MemberJoined
{
    member @0 :Text $Cairn.tag("member");
    email  @1 :Text $Cairn.personal("member");
    city   @2 :Text;
}
struct NoteTaken { text @0 :Text $Cairn.personal(""); }
