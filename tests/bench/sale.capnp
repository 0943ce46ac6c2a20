@0xd2a5f86c91e3b047;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("cairn::bench");

# A line of an invoice of Online Retail.
struct LineSold
{
    product  @0 :Text;
    country  @1 :Text;
    month    @2 :UInt16;  # since January 2000
    quantity @3 :Int64;
    milli    @4 :Int64;   # revenue, in thousandths of a pound
}
