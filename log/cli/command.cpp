// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"

#include <charconv>
#include <utility>

namespace cairn::cli {

std::int64_t parse_whole_number(std::string_view text, std::string_view what)
{
    std::int64_t number     = 0;
    const auto   from       = text.starts_with('+') ? text.substr(1) : text;
    const auto [end, fault] = std::from_chars(from.data(), from.data() + from.size(), number);
    if (fault == std::errc::result_out_of_range)
        throw usage_error{std::string{what} + ": " + std::string{text} + " is too large"};
    if (fault != std::errc{} || end != from.data() + from.size())
        throw usage_error{std::string{what} + ": '" + std::string{text} +
                          "' is not a whole number"};
    return number;
}

command::command(std::string name, std::string summary)
    : name_{std::move(name)}, summary_{std::move(summary)}
{
}

command& command::add(std::string name, std::string summary)
{
    commands_.push_back(std::make_unique<command>(std::move(name), std::move(summary)));
    commands_.back()->parent_ = this;
    return *commands_.back();
}

command& command::add_hidden(std::string name, std::string summary)
{
    auto& made   = add(std::move(name), std::move(summary));
    made.hidden_ = true;
    return made;
}

command& command::text(std::string paragraph)
{
    text_.push_back(std::move(paragraph));
    return *this;
}

command& command::shows(std::string line, std::string what)
{
    examples_.push_back({std::move(line), std::move(what)});
    return *this;
}

command& command::json(std::string what, std::vector<json_field> fields)
{
    json_   = std::move(what);
    fields_ = std::move(fields);
    return *this;
}

command& command::does(std::function<int(session&)> action)
{
    action_ = std::move(action);
    return *this;
}

option& command::declare(std::string_view names, std::string meta, std::string help,
                         std::function<void(const std::string&)> set)
{
    auto made = std::make_unique<option>();
    if (names.size() > 3 && names[0] == '-' && names[2] == ',') {
        made->letter = names[1];
        names.remove_prefix(3);
    }
    made->name  = names;
    made->value = std::move(meta);
    made->help  = std::move(help);
    made->set   = std::move(set);
    options_.push_back(std::move(made));
    return *options_.back();
}

option& command::flag(std::string_view names, bool& target, std::string help)
{
    return declare(names, "", std::move(help), [&target](const std::string&) { target = true; });
}

option& command::value(std::string_view names, std::string meta,
                       std::function<void(const std::string&)> set, std::string help)
{
    return declare(names, std::move(meta), std::move(help), std::move(set));
}

option& command::value(std::string_view names, std::string meta, std::string& target,
                       std::string help)
{
    return declare(names, std::move(meta), std::move(help),
                   [&target](const std::string& text) { target = text; });
}

option& command::value(std::string_view names, std::string meta, std::optional<std::string>& target,
                       std::string help)
{
    return declare(names, std::move(meta), std::move(help),
                   [&target](const std::string& text) { target = text; });
}

option& command::value(std::string_view names, std::string meta, std::int64_t& target,
                       std::string help)
{
    auto& made = declare(names, std::move(meta), std::move(help), {});
    made.set   = [&target, name = made.name](const std::string& text) {
        target = parse_whole_number(text, name);
    };
    return made;
}

option& command::value(std::string_view names, std::string meta,
                       std::optional<std::int64_t>& target, std::string help)
{
    auto& made = declare(names, std::move(meta), std::move(help), {});
    made.set   = [&target, name = made.name](const std::string& text) {
        target = parse_whole_number(text, name);
    };
    return made;
}

option& command::values(std::string_view names, std::string meta, std::vector<std::string>& target,
                        std::string help)
{
    auto& made    = declare(names, std::move(meta), std::move(help),
                            [&target](const std::string& text) { target.push_back(text); });
    made.repeated = true;
    return made;
}

option& command::argument(std::string name, std::string& target, std::string help)
{
    auto& made    = value(name, name, target, std::move(help));
    made.required = true;
    return made;
}

option& command::optional_argument(std::string name, std::string& target, std::string help)
{
    return value(name, name, target, std::move(help));
}

option& command::arguments(std::string name, std::vector<std::string>& target, std::string help)
{
    auto& made    = values(name, name, target, std::move(help));
    made.required = true;
    return made;
}

std::string command::full_name() const
{
    return parent_ ? parent_->full_name() + ' ' + name_ : name_;
}

const command* command::find(std::string_view name) const noexcept
{
    for (const auto& below : commands_)
        if (below->name_ == name) return below.get();
    return nullptr;
}

}  // namespace cairn::cli
