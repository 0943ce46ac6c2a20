// SPDX-License-Identifier: Apache-2.0
//
// The one file that includes CLI11, which takes long to compile: it mirrors the tree as CLI::App,
// lets it parse, and carries the results back.
#include "command.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <numeric>
#include <utility>

namespace cairn::cli {

namespace {

struct node
{
    const command* of  = nullptr;
    CLI::App*      app = nullptr;

    std::vector<std::pair<const option*, CLI::Option*>> options;
    std::vector<std::unique_ptr<node>>                  below;
};

void mirror_option(node& n, const option& o)
{
    std::string names = o.name;
    if (o.letter != 0) names = std::string{'-', o.letter, ','} + names;

    CLI::Option* made = nullptr;
    if (o.is_flag()) {
        made = n.app->add_flag(names);
    } else {
        made = n.app->add_option(names);
        // An option takes one value each time; only arguments by place take what follows too.
        if (o.is_argument() && o.repeated)
            made->expected(1, CLI::detail::expected_max_vector_size)->allow_extra_args(true);
        else
            made->expected(1)->allow_extra_args(false);
        made->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    }
    n.options.emplace_back(&o, made);
}

std::unique_ptr<node> mirror(const command& of, CLI::App& app)
{
    auto n = std::make_unique<node>();
    n->of  = &of;
    n->app = &app;
    app.set_help_flag("-h,--help");
    for (const auto& o : of.options()) mirror_option(*n, *o);
    for (const auto& c : of.commands())
        n->below.push_back(mirror(*c, *app.add_subcommand(c->name())));
    // At most one: with this, an argument may have the name of a command (a topic "group").
    if (!of.commands().empty()) app.require_subcommand(0, 1);
    return n;
}

const node& chosen(const node& n)
{
    for (const auto& below : n.below)
        if (below->app->parsed()) return chosen(*below);
    return n;
}

/// How many letters must be added, removed or changed to get from one word to the other.
std::size_t edits(std::string_view a, std::string_view b)
{
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0]++;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t kept = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal               = row[j];
            row[j]                 = std::min({kept, row[j] + 1, row[j - 1] + 1});
        }
    }
    return row.back();
}

std::string nearest(std::string_view word, const std::vector<std::string>& words)
{
    std::string best;
    std::size_t fewest = std::max<std::size_t>(2, word.size() / 3) + 1;
    for (const auto& w : words) {
        const bool begins = word.size() >= 3 && w.starts_with(word);
        if (const auto n = begins ? 1 : edits(word, w); n < fewest) {
            fewest = n;
            best   = w;
        }
    }
    return best;
}

[[noreturn]] void complain_of_extra(const command& of, std::string word)
{
    const bool is_option = word.size() > 1 && word.front() == '-';
    if (is_option) word = word.substr(0, word.find('='));

    std::vector<std::string> known;
    if (is_option) {
        known.emplace_back("--help");
        for (const auto& o : of.options())
            if (!o->is_argument()) known.push_back(o->name);
    } else {
        for (const auto& c : of.commands())
            if (!c->hidden()) known.push_back(c->name());
    }

    std::string what = of.full_name() + " has no ";
    what += is_option               ? "option " + word
            : of.commands().empty() ? "place for '" + word + "'"
                                    : "command '" + word + "'";
    if (const auto near = nearest(word, known); !near.empty())
        what += "; did you mean " + near + "?";
    throw usage_error{what};
}

std::string list_of(const std::vector<std::string>& words)
{
    std::string text;
    for (const auto& w : words) text += (text.empty() ? "" : ", ") + w;
    return text;
}

void apply(const option& o, const CLI::Option& found, const command& of)
{
    if (found.count() == 0) {
        if (o.required) throw usage_error{of.full_name() + " needs " + o.name};
        return;
    }
    if (o.is_flag()) {
        // CLI11 reads --flag=no too; nobody is told of it, and so it is not understood.
        for (const auto& text : found.results())
            if (text != "true") throw usage_error{o.name + " takes no value"};
        o.set("");
        return;
    }
    if (!o.repeated && found.results().size() > 1)
        throw usage_error{o.name + " is given more than once"};
    for (const auto& text : found.results()) {
        if (!o.choices.empty() && std::ranges::find(o.choices, text) == o.choices.end())
            throw usage_error{o.name + ": '" + text + "' is none of " + list_of(o.choices)};
        o.set(text);
    }
}

void apply_all(const node& n)
{
    for (const auto& [o, found] : n.options) apply(*o, *found, *n.of);
    for (const auto& below : n.below)
        if (below->app->parsed()) apply_all(*below);
}

}  // namespace

parsed parse(const command& root, const std::vector<std::string>& arguments)
{
    CLI::App   app;
    const auto tree = mirror(root, app);
    app.add_flag("--version");

    for (const auto& argument : arguments) {
        if (argument == "--") break;
        // CLI11 would take the next argument for its value.
        if (argument.size() > 3 && argument.starts_with("--") &&
            argument.find('=') == argument.size() - 1)
            throw usage_error{
                "write an empty value as: " + argument.substr(0, argument.size() - 1) + " ''"};
    }

    parsed result;
    try {
        app.parse(std::vector<std::string>{arguments.rbegin(), arguments.rend()});
    } catch (const CLI::CallForHelp&) {
        result.wants_help = true;
    } catch (const CLI::ExtrasError&) {
        const node& at = chosen(*tree);
        for (const node* n = tree.get();;) {
            const auto left = n->app->remaining();
            if (!left.empty()) complain_of_extra(*n->of, left.front());
            if (n == &at) break;
            n = std::ranges::find_if(n->below, [](const auto& b) {
                    return b->app->parsed();
                })->get();
        }
        throw usage_error{"there is an argument too many"};
    } catch (const CLI::ArgumentMismatch& fault) {
        throw usage_error{fault.what()};
    } catch (const CLI::ParseError& fault) {
        throw usage_error{fault.what()};
    }

    result.chosen        = chosen(*tree).of;
    result.wants_version = app.count("--version") > 0;
    if (!result.wants_help && !result.wants_version && result.chosen->action()) apply_all(*tree);
    return result;
}

}  // namespace cairn::cli
