@0xc7d2a9e4b1f03561;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("till");

struct ItemSold @0xc7d2a9e4b1f03562 {
    sku      @0 :Text;
    shop     @1 :Text;
    quantity @2 :Int64;
    atMs     @3 :Int64;
}

struct ShopOpened @0xc7d2a9e4b1f03563 {
    shop @0 :Text;
    town @1 :Text;
}

struct BulkSold @0xc7d2a9e4b1f03564 {
    sku      @0 :Text;
    quantity @1 :Int64;
}
