@0xe5c8a1f97b204d36;

using Cxx = import "/capnp/c++.capnp";
using Cairn = import "/cairn/event.capnp";
$Cxx.namespace("shop");

# Of orders.
struct OrderPlaced    { order @0 :Text $Cairn.tag("order"); customer @1 :Text; }
struct OrderPaid      { order @0 :Text $Cairn.tag("order"); }
struct OrderCancelled { order @0 :Text $Cairn.tag("order"); reason @1 :Text; }

# Of payments.
struct PaymentDue      { order @0 :Text; customer @1 :Text; }
struct PaymentReceived {}
struct PaymentGivenUp  { why @0 :Text; }

# For customers.
struct Mail { to @0 :Text; text @1 :Text; }
