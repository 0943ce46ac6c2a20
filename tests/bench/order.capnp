@0xe1b7c0a4d29f5386;

using Cxx = import "/capnp/c++.capnp";
using Cairn = import "/cairn/event.capnp";
$Cxx.namespace("cairn::bench");

# About 200 bytes with its framing, as the other benchmarks' events have.
struct LineAdded
{
    sku      @0 :Text;
    quantity @1 :UInt32;
    cents    @2 :UInt64;
    note     @3 :Text;
}
