@0x9c1d7e5a3b2f4860;

using Cxx = import "/capnp/c++.capnp";
using Cairn = import "/cairn/event.capnp";
$Cxx.namespace("shop");

struct OrderPlaced @0xa1b2c3d4e5f60718
{
    customer @0 :Text $Cairn.tag("customer");
    cents    @1 :UInt32;
    address  :group { street @2 :Text; number @3 :UInt16; }
}
struct PriceChanged     { cents  @0 :UInt32; note @1 :Text; }
struct PaymentRequested { order  @0 :Text; cents @1 :UInt32; }
struct Paid             { method @0 :Text; }
