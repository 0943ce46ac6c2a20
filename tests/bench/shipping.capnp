@0xf3a85c1e7d29b046;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("cairn::bench");

# About 200 bytes with their framing, as the other benchmarks' events have.
struct OrderPaid
{
    number @0 :UInt64;
    note   @1 :Text;
}
struct ShipmentBegun
{
    number @0 :UInt64;
    note   @1 :Text;
}
struct StockReserved
{
    number @0 :UInt64;
    note   @1 :Text;
}
