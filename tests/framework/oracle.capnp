@0xb2f60d9a7c8e4135;

using Cxx = import "/capnp/c++.capnp";
using Cairn = import "/cairn/event.capnp";
$Cxx.namespace("oracle");

# Ten types of events that have up to three tags, and say which decision they come of.
struct Event0
{
    a @0 :Text $Cairn.tag("");
    b @1 :Text $Cairn.tag("");
    c @2 :Text $Cairn.tag("");
    decision @3 :Text;
}
struct Event1
{
    a @0 :Text $Cairn.tag("");
    b @1 :Text $Cairn.tag("");
    c @2 :Text $Cairn.tag("");
    decision @3 :Text;
}
struct Event2
{
    a @0 :Text $Cairn.tag("");
    b @1 :Text $Cairn.tag("");
    c @2 :Text $Cairn.tag("");
    decision @3 :Text;
}
struct Event3
{
    a @0 :Text $Cairn.tag("");
    b @1 :Text $Cairn.tag("");
    c @2 :Text $Cairn.tag("");
    decision @3 :Text;
}
struct Event4
{
    a @0 :Text $Cairn.tag("");
    b @1 :Text $Cairn.tag("");
    c @2 :Text $Cairn.tag("");
    decision @3 :Text;
}
struct Event5
{
    a @0 :Text $Cairn.tag("");
    b @1 :Text $Cairn.tag("");
    c @2 :Text $Cairn.tag("");
    decision @3 :Text;
}
struct Event6
{
    a @0 :Text $Cairn.tag("");
    b @1 :Text $Cairn.tag("");
    c @2 :Text $Cairn.tag("");
    decision @3 :Text;
}
struct Event7
{
    a @0 :Text $Cairn.tag("");
    b @1 :Text $Cairn.tag("");
    c @2 :Text $Cairn.tag("");
    decision @3 :Text;
}
struct Event8
{
    a @0 :Text $Cairn.tag("");
    b @1 :Text $Cairn.tag("");
    c @2 :Text $Cairn.tag("");
    decision @3 :Text;
}
struct Event9
{
    a @0 :Text $Cairn.tag("");
    b @1 :Text $Cairn.tag("");
    c @2 :Text $Cairn.tag("");
    decision @3 :Text;
}
