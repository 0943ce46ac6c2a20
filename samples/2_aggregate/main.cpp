#include "account.hpp"

#include <cairn/framework/repository.hpp>

#include <iostream>

using namespace bank;

int main(int argc, char** argv)
{
    auto log = argc > 1 ? cairn::commit_log::open(argv[1]) : cairn::commit_log::in_memory();
    log.ensure_topic("accounts");

    cairn::repository<Account> accounts{log, "accounts"};
    accounts.execute("ada", Deposit{100}).value();
    accounts.execute("ada", Withdraw{60}).value();
    if (auto refused = accounts.execute("ada", Withdraw{60}); !refused)
        std::cout << "Refused: " << refused.error().reason << '\n';
    std::cout << "Ada has " << accounts.load("ada").state.cents << " cents\n";
}
