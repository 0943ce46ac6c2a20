@0x9d8c4f1be2a75036;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("shop");

struct ItemSold {
    sku      @0 :Text;
    quantity @1 :Int64;
    atMs     @2 :Int64;  # since 1970-01-01T00:00Z
}
