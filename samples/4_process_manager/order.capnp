@0xc2e7594ab8f1d063;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("shop");

# What can happen to an order.
struct OrderPlaced    {}
struct OrderPaid      {}
struct OrderCancelled { why @0 :Text; }
