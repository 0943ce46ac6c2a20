@0xe1f0c7a9b5d34e21;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("sales");

struct Sold @0xa3b1c9d7e5f31101 {
    customer @0 :Text;
    country  @1 :Text;
    cents    @2 :Int64;
}

struct Returned @0xa3b1c9d7e5f31102 {
    customer @0 :Text;
    country  @1 :Text;
    cents    @2 :Int64;
}

struct BigSale @0xa3b1c9d7e5f31103 {
    customer @0 :Text;
    cents    @1 :Int64;
}
