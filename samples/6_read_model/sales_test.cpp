#include "sales.hpp"

#include <cairn/projections/testing.hpp>
#include <catch2/catch.hpp>

using namespace shop;
using cairn::testing::given;

//[ sales_test
TEST_CASE("pieces are counted, not sales")
{
    auto world = given<Sales<2>>(item_sold("lamp", 3, 9h), item_sold("lamp", 1, 10h));
    CHECK(world.expect(&Sales<2>::sold, {{"lamp", 4}}));
}
//]
