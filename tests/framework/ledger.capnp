@0xa7d4c1e8f2b36095;

using Cxx = import "/capnp/c++.capnp";
using Cairn = import "/cairn/event.capnp";
$Cxx.namespace("ledger");

# What was recorded of old, ...
struct PaidV1    { euros @0 :UInt32; }
struct PaidV2    { cents @0 :UInt64; }
struct Moved     { out @0 :UInt64; in @1 :UInt64; }
struct AmountSet { cents @0 :UInt64; }
struct LabelSet  { label @0 :Text; }
struct Ping      {}
struct OldCredit { cents @0 :UInt64; }
struct Circle    {}
struct OlderAmount { cents @0 :UInt32; }
struct OldAmount   { cents @0 :UInt64; }
struct OldLabel    { label @0 :Text; }
struct TwoLabels   { label @0 :Text; }
struct PriceNoted  { cents @0 :UInt64; label @1 :Text; }

# ... and what it is read as.
struct Paid    { cents @0 :UInt64; currency @1 :Text; }
struct Taken   { cents @0 :UInt64; }
struct Priced  { cents @0 :UInt64; label @1 :Text; }
struct Credit  { cents @0 :UInt64; }

struct Balance  # a snapshot
{
    cents @0 :Int64;
    texts @1 :Text;
}

struct Joined
{
    member @0 :Text $Cairn.tag("member");
    email  @1 :Text $Cairn.personal("member");
    born   @2 :UInt32 $Cairn.personal("member");
    city   @3 :Text;
    home   @4 :Address $Cairn.personal("member");
}
struct Address { street @0 :Text; }
struct Noted   # about the member whose stream it is
{
    words @0 :Text $Cairn.personal("");
}
struct Introduced  # about two
{
    host       @0 :Text;
    hostPhone  @1 :Text $Cairn.personal("host");
    guest      @2 :Text;
    guestPhone @3 :Text $Cairn.personal("guest");
}
struct Member  # a snapshot
{
    member @0 :Text;
    email  @1 :Text $Cairn.personal("member");
    notes  @2 :UInt32;
}

struct Inner      { secret @0 :Text $Cairn.personal(""); }
struct Leaky      { inner @0 :Inner; }
struct Family
{
    name   @0 :Text;
    mother @1 :Family;
    father @2 :Family;
    older  @3 :List(Family);
    twin   @4 :Family;
}
struct LeakyFamily { older @0 :List(LeakyFamily); twin @1 :LeakyFamily; inner @2 :Inner; }
struct Nobody     { name @0 :Text $Cairn.personal("owner"); }
struct SelfNamed  { name @0 :Text $Cairn.personal("name"); }
struct Shipped    { order @0 :Text $Cairn.key; to @1 :Text; }
struct Returned   { order @0 :Text $Cairn.key; }
struct NumberKey  { order @0 :UInt32 $Cairn.key; }
struct TwoKeys    { order @0 :Text $Cairn.key; parcel @1 :Text $Cairn.key; }
struct NameAsKey  { name @0 :Text $Cairn.key $Cairn.personal(""); }
struct Crate      # what is marked in a group is as good as outside of it
{
    at :group { harbour @0 :Text $Cairn.tag("harbour"); pier @1 :UInt16 $Cairn.tag(""); }
    owner :group { id :group { text @2 :Text $Cairn.key; } }
    sealed :union { by @3 :Text $Cairn.tag("seal"); no @4 :Void; }
}
struct TaggedInside { name @0 :Text; where @1 :Marked; }
struct TaggedInList { where @0 :List(List(Marked)); }
struct TaggedDeep   { twin @0 :TaggedDeep; inner :group { deep @1 :TaggedInside; } }
struct KeyInside    { order @0 :Shipped; }
struct Marked       { harbour @0 :Text $Cairn.tag("harbour"); }
struct SecretGroup  { who :group { name @0 :Text $Cairn.personal(""); } }
struct TaggedName { who @0 :Text; name @1 :Text $Cairn.personal("who") $Cairn.tag("name"); }
