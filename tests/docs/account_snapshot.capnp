@0xe91b64f0d27c83a5;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("bank");

struct AccountSnapshot { cents @0 :UInt64; }
