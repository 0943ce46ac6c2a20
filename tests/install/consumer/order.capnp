@0xd8a3f1c6b5e29704;

using Cairn = import "/cairn/event.capnp";

struct OrderPlaced
{
    customer @0 :Text $Cairn.tag("customer");
}
