@0xb4f6a1c59e2d7083;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("bank");

struct Deposited { cents @0 :UInt64; }
struct Withdrawn { cents @0 :UInt64; }
