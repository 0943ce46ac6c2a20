// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "command.hpp"
#include "output.hpp"
#include "progress_line.hpp"

#include <cairn/log/commit_log.hpp>

#include <memory>
#include <string>

namespace cairn::cli {

/// What most verbs have in common.
struct common_options
{
    std::string data;
    std::string format  = "text";
    bool        verbose = false;

    bool json() const noexcept { return format == "json"; }

    /// --data, or CAIRN_DATA. Throws usage_error where neither is given.
    std::string directory() const;
};

/// What a command runs in: where its output goes, whether it has been interrupted, and how it
/// comes to its log.
class session
{
public:
    explicit session(output& out) : out_{out} {}

    output&        out() noexcept { return out_; }
    progress_line& progress() noexcept { return progress_; }

    /// Opens the directory to write in it.
    enum class if_missing {
        make_it,
        refuse,
    };
    commit_log open_to_write(const common_options& o, if_missing missing = if_missing::refuse);

    /// Opens the directory without a lock, so that it works beside a running service.
    commit_log open_to_read(const common_options& o);

    /// SIGINT or SIGTERM has come: end at the next good place.
    static bool interrupted() noexcept;
    static void heed_signals();

    /// A line on stderr for a person, not an error.
    void note(const std::string& line);

private:
    log_options options_for(const common_options& o);

    output&       out_;
    progress_line progress_;
};

/// Declares --data and --verbose; and --format text|json, for the verbs whose format is one of
/// these.
void add_data_option(command& c, common_options& o);
void add_format_option(command& c, common_options& o);

// The nouns. Each adds its part of the tree.
void add_topic(command& root);
void add_produce(command& root);
void add_consume(command& root);
void add_group(command& root);
void add_projection(command& root);
void add_projection_names(command& generate);
void add_stream(command& root);
void add_stream_diff(command& stream);
void add_query(command& root);
void add_trace(command& root);
void add_schema(command& root);
void add_operating(command& root);  // verify, clean, backup, stats
void add_doctor(command& root);
void add_bench(command& root);
void add_help(command& root);  // help, completion, generate

/// The whole tree.
std::unique_ptr<command> make_tree();

}  // namespace cairn::cli
