@0xc8f15b7ad20e4693;

using Cxx = import "/capnp/c++.capnp";
using Cairn = import "/cairn/event.capnp";
$Cxx.namespace("school");

struct CourseOffered
{
    course @0 :Text $Cairn.key $Cairn.tag("course");
    seats  @1 :UInt32;
}

struct StudentEnrolled
{
    course  @0 :Text $Cairn.tag("course");
    student @1 :Text $Cairn.key $Cairn.tag("student");
}
