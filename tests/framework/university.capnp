@0xa7d2e4f6819b3c05;

using Cxx = import "/capnp/c++.capnp";
using Cairn = import "/cairn/event.capnp";
$Cxx.namespace("university");

struct SeatsOffered
{
    course @0 :Text $Cairn.tag("course");
    seats  @1 :UInt32;
}
struct StudentEnrolled
{
    course  @0 :Text $Cairn.tag("course");
    student @1 :Text $Cairn.tag("student");
}
struct StudentLeft
{
    course  @0 :Text $Cairn.tag("course");
    student @1 :Text $Cairn.tag("student");
}
struct EmailTaken { email @0 :Text $Cairn.tag("email"); }
