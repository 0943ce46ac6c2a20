// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace cairn::cli {

namespace {

volatile std::sig_atomic_t signal_came = 0;

void on_signal(int)
{
    signal_came = 1;
}

}  // namespace

bool session::interrupted() noexcept
{
    return signal_came != 0;
}

void session::heed_signals()
{
    // Without SA_RESTART: a read that waits for input ends with EINTR. And once only: who sends
    // a second signal wants the program to end now.
    struct ::sigaction action = {};
    action.sa_handler         = on_signal;
    action.sa_flags           = SA_RESETHAND;
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);

    // A reader that has gone is seen by write(), which says so.
    std::signal(SIGPIPE, SIG_IGN);
}

void session::note(const std::string& line)
{
    progress_.clear();
    std::fprintf(stderr, "cairn: %s\n", line.c_str());
}

log_options session::options_for(const common_options& o)
{
    log_options options;
    options.on_progress = [this](const cairn::progress& p) { progress_.show(p); };
    if (o.verbose) options.on_event = [this](const std::string& line) { note(line); };
    return options;
}

commit_log session::open_to_write(const common_options& o, if_missing missing)
{
    auto options   = options_for(o);
    options.create = missing == if_missing::make_it;
    auto log       = commit_log::open(o.directory(), std::move(options));
    progress_.clear();
    return log;
}

commit_log session::open_to_read(const common_options& o)
{
    auto options      = options_for(o);
    options.create    = false;
    options.read_only = true;
    auto log          = commit_log::open(o.directory(), std::move(options));
    progress_.clear();
    return log;
}

std::string common_options::directory() const
{
    if (!data.empty()) return data;
    if (const char* from_environment = std::getenv("CAIRN_DATA");
        from_environment && *from_environment)
        return from_environment;
    throw usage_error{"which log? give its directory with --data DIR, or set CAIRN_DATA"};
}

void add_data_option(command& c, common_options& o)
{
    c.value("-d,--data", "DIR", o.data, "The directory of the log; without it, $CAIRN_DATA.")
        .completes = completion::folder;
    c.flag("-v,--verbose", o.verbose,
           "Say on stderr what the log does: recovery, cleaning, faults.");
}

void add_format_option(command& c, common_options& o)
{
    c.value("-f,--format", "FORMAT", o.format, "How to print: text (the default) or json.")
        .choices = {"text", "json"};
}

std::unique_ptr<command> make_tree()
{
    auto root =
        std::make_unique<command>("cairn", "An embedded, crash-safe, partitioned commit log");
    root->text(
        "Makes topics, appends records to them and reads them back, looks after consumer "
        "groups, and checks, copies and measures a log. A log is a directory: give it with "
        "--data DIR behind the command, or once for all with CAIRN_DATA.");
    root->text(
        "What only reads opens the directory without a lock, and so works while a service "
        "writes in it; it is behind by about a sixth of a second. What writes needs "
        "the directory for itself.");
    root->shows("export CAIRN_DATA=./data", "The log that the next commands mean.");
    root->shows("cairn topic create orders --partitions 8",
                "A topic; the log too, if there is none.");
    root->shows("echo 'o-1:placed' | cairn produce orders --key-separator :",
                "A record: key o-1, value placed.");
    root->shows("cairn consume orders --format '%k is %s\\n'", "Everything in it, in order.");

    // Before the command it is what CAIRN_DATA is: the log of a command that does not say its own.
    auto& data = root->value(
        "-d,--data", "DIR",
        [](const std::string& directory) { ::setenv("CAIRN_DATA", directory.c_str(), 1); },
        "The directory of the log; it may stand behind the command as well.");
    data.completes = completion::folder;

    add_topic(*root);
    add_produce(*root);
    add_consume(*root);
    add_group(*root);
    add_projection(*root);
    add_stream(*root);
    add_query(*root);
    add_trace(*root);
    add_schema(*root);
    add_operating(*root);
    add_doctor(*root);
    add_bench(*root);
    add_help(*root);
    return root;
}

}  // namespace cairn::cli
