@0xf0a9c3b17d5e2468;

using Cxx = import "/capnp/c++.capnp";
using Cairn = import "/cairn/event.capnp";
$Cxx.namespace("bank");

struct Opened
{
    owner @0 :Text   $Cairn.tag("owner");
    kind  @1 :Kind   $Cairn.tag("");
    limit @2 :UInt64;

    enum Kind { current @0; savings @1; }
}
struct Deposited { cents @0 :UInt64; note @1 :Text; }
struct Withdrawn { cents @0 :UInt64; }
struct Closed {}
