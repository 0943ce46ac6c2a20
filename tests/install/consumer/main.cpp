// SPDX-License-Identifier: Apache-2.0
// The least a program can do with the installed log.
#include <cairn/log/crc32c.hpp>

int main()
{
    return cairn::crc32c("123456789") == 0xE3069283u ? 0 : 1;
}
