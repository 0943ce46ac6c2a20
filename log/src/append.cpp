// SPDX-License-Identifier: Apache-2.0
#include <cairn/log/append.hpp>

#include <charconv>

namespace cairn {

std::string join_tags(const std::vector<std::string>& tags)
{
    std::string joined;
    for (const auto& tag : tags) {
        if (tag.empty())
            throw error{errc::empty_tag,
                        "a tag is empty: leave it out, or give it a name such as \"order:42\""};
        if (!joined.empty()) joined += ',';
        for (const char c : tag) {
            if (c == ',')
                joined += "%2C";
            else if (c == '%')
                joined += "%25";
            else
                joined += c;
        }
    }
    return joined;
}

std::vector<std::string> split_tags(std::string_view joined)
{
    std::vector<std::string> tags;
    while (!joined.empty()) {
        const auto  comma = joined.find(',');
        const auto  part  = joined.substr(0, comma);
        std::string tag;
        tag.reserve(part.size());
        for (std::size_t i = 0; i < part.size(); ++i) {
            const auto escape = part.substr(i, 3);
            if (escape == "%2C" || escape == "%2c") {
                tag += ',';
                i += 2;
            } else if (escape == "%25") {
                tag += '%';
                i += 2;
            } else {
                tag += part[i];
            }
        }
        if (!tag.empty()) tags.push_back(std::move(tag));
        if (comma == std::string_view::npos) break;
        joined.remove_prefix(comma + 1);
    }
    return tags;
}

std::string expected_version::text() const
{
    if (is_any()) return "any";
    if (code_ == -2) return "exists";
    if (code_ == 0) return "no_stream";
    return std::to_string(code_);
}

expected_version expected_version::parse(std::string_view text)
{
    if (text == "any") return any();
    if (text == "exists") return exists();
    if (text == "no_stream") return no_stream();
    std::int64_t number = -1;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failed != std::errc{} || end != text.data() + text.size() || number < 0)
        throw error{errc::invalid_argument,
                    "\"" + std::string{text} +
                        "\" is no expected version: use any, exists, no_stream, or how many "
                        "records the stream has"};
    return exactly(version{number});
}

void throw_exception_from_error(const refusal& r, const boost::source_location&)
{
    throw append_refused{r};
}

}  // namespace cairn
