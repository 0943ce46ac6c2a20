// SPDX-License-Identifier: Apache-2.0
//
// The tree of commands: said once, in the files of the nouns. The parser, --help, the manual
// pages, the completions and docs/reference/cli.md are all made from it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::cli {

class session;

/// The command line is not one that the program understands: exit code 2.
class usage_error : public std::runtime_error
{
public:
    using std::runtime_error::runtime_error;
};

/// Something failed that is the program's own and not the log's: exit code 1. Its code stands
/// beside those of the log in docs/reference/cli.md.
class failure : public std::runtime_error
{
public:
    failure(std::string code, const std::string& what)
        : std::runtime_error{what}, code_{std::move(code)}
    {
    }
    const std::string& code() const noexcept { return code_; }

private:
    std::string code_;
};

/// What a shell can offer for a value.
enum class completion {
    nothing,
    file,
    folder,
    topic,
    group,
    projection,
};

/// A flag, an option with a value, or (where its name has no dash) an argument by place.
struct option
{
    std::string              name;        ///< "--partitions", or "TOPIC"
    char                     letter = 0;  ///< 'p' for -p
    std::string              value;       ///< what stands for its value in help; "": a flag
    std::string              help;
    bool                     required = false;
    bool                     repeated = false;
    std::vector<std::string> choices;  ///< the only values, where not empty
    completion               completes = completion::nothing;

    std::function<void(const std::string&)> set;  ///< once for each value

    bool is_flag() const noexcept { return value.empty(); }
    bool is_argument() const noexcept { return name.front() != '-'; }
};

struct example
{
    std::string line;
    std::string what;
};

/// One member of the objects that --format json prints.
struct json_field
{
    std::string name;
    std::string what;
};

/// A verb, or a noun that has verbs.
class command
{
public:
    command(std::string name, std::string summary);

    command& add(std::string name, std::string summary);
    command& add_hidden(std::string name, std::string summary);

    /// A paragraph below the summary.
    command& text(std::string paragraph);
    command& shows(std::string line, std::string what);  ///< an example
    /// What --format json prints: "one object per topic", and its members.
    command& json(std::string what, std::vector<json_field> fields);
    command& does(std::function<int(session&)> action);

    // Declares an option. The names are "--name" or "-n,--name"; an argument is "NAME". The
    // value is read after the whole line has been parsed; what does not read is a usage_error.
    option& flag(std::string_view names, bool& target, std::string help);
    option& value(std::string_view names, std::string meta,
                  std::function<void(const std::string&)> set, std::string help);
    option& value(std::string_view names, std::string meta, std::string& target, std::string help);
    option& value(std::string_view names, std::string meta, std::optional<std::string>& target,
                  std::string help);
    option& value(std::string_view names, std::string meta, std::int64_t& target, std::string help);
    option& value(std::string_view names, std::string meta, std::optional<std::int64_t>& target,
                  std::string help);
    option& values(std::string_view names, std::string meta, std::vector<std::string>& target,
                   std::string help);
    option& argument(std::string name, std::string& target, std::string help);
    option& optional_argument(std::string name, std::string& target, std::string help);
    option& arguments(std::string name, std::vector<std::string>& target, std::string help);

    const std::string& name() const noexcept { return name_; }
    const std::string& summary() const noexcept { return summary_; }
    bool               hidden() const noexcept { return hidden_; }
    std::string        full_name() const;  ///< "cairn topic create"
    const command*     parent() const noexcept { return parent_; }

    const std::vector<std::string>&              paragraphs() const noexcept { return text_; }
    const std::vector<example>&                  examples() const noexcept { return examples_; }
    const std::string&                           json_what() const noexcept { return json_; }
    const std::vector<json_field>&               json_fields() const noexcept { return fields_; }
    const std::vector<std::unique_ptr<option>>&  options() const noexcept { return options_; }
    const std::vector<std::unique_ptr<command>>& commands() const noexcept { return commands_; }
    const std::function<int(session&)>&          action() const noexcept { return action_; }

    /// The command of that name below this one, or null.
    const command* find(std::string_view name) const noexcept;

private:
    option& declare(std::string_view names, std::string meta, std::string help,
                    std::function<void(const std::string&)> set);

    std::string                           name_;
    std::string                           summary_;
    bool                                  hidden_ = false;
    const command*                        parent_ = nullptr;
    std::vector<std::string>              text_;
    std::vector<example>                  examples_;
    std::string                           json_;
    std::vector<json_field>               fields_;
    std::vector<std::unique_ptr<option>>  options_;
    std::vector<std::unique_ptr<command>> commands_;
    std::function<int(session&)>          action_;
};

/// What a command line asks for.
struct parsed
{
    const command* chosen        = nullptr;
    bool           wants_help    = false;
    bool           wants_version = false;
};

/// Reads the command line (without the program's name) and sets what the options are bound to.
/// Throws usage_error, which says what would have been understood.
parsed parse(const command& root, const std::vector<std::string>& arguments);

/// A whole number of 64 bits; else a usage_error that names `what`.
std::int64_t parse_whole_number(std::string_view text, std::string_view what);

}  // namespace cairn::cli
