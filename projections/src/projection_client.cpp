// SPDX-License-Identifier: Apache-2.0
#include <cairn/projections/projection_control.hpp>

#include "control_protocol.hpp"
#include "control_socket.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <utility>

namespace cairn {

namespace {

[[noreturn]] void gone(const std::string& directory)
{
    throw error{errc::closed, "the service that had " + directory +
                                  " open has gone before it answered: see whether it runs, and "
                                  "what it did"};
}

std::string line_from(const detail::descriptor& socket, const std::string& directory,
                      const std::function<void()>& waiting)
{
    constexpr int each_ms = 100;
    std::string   line;
    char          some[16384];
    for (;;) {
        ::pollfd  from{socket.get(), POLLIN, 0};
        const int ready = ::poll(&from, 1, each_ms);
        if (waiting) waiting();
        if (ready <= 0) continue;  // or a signal came
        const auto n = ::recv(socket.get(), some, sizeof some, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) gone(directory);
        line.append(some, static_cast<std::size_t>(n));
        if (line.back() != '\n') continue;
        line.pop_back();
        return line;
    }
}

void send_all(const detail::descriptor& socket, std::string_view bytes,
              const std::string& directory)
{
    while (!bytes.empty()) {
        const auto n = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) gone(directory);
        bytes.remove_prefix(static_cast<std::size_t>(n));
    }
}

detail::control_answer ask(const std::string& directory, const std::function<void()>& waiting,
                           const detail::control_request& request)
{
    const auto socket = detail::connect_to(directory);
    if (!socket)
        throw error{errc::closed, "no service has the projections of " + directory +
                                      " open: start it, with a projection_control"};
    send_all(*socket, text_of(request) + '\n', directory);
    return detail::answer_from(line_from(*socket, directory, waiting));
}

}  // namespace

using detail::control_verb;

projection_client::projection_client(std::string data_directory, std::function<void()> waiting)
    : directory_{std::move(data_directory)}, waiting_{std::move(waiting)}
{
}

bool projection_client::is_served() const
{
    return detail::connect_to(directory_).has_value();
}

std::vector<projection_status> projection_client::status()
{
    return ask(directory_, waiting_, {control_verb::status}).projections;
}

projection_status projection_client::status(const std::string& projection)
{
    return instances(projection).at(0);
}

std::vector<projection_status> projection_client::instances(const std::string& projection)
{
    return ask(directory_, waiting_, {control_verb::status, projection}).projections;
}

std::vector<projection_status> projection_client::unfed()
{
    return ask(directory_, waiting_, {control_verb::unfed}).projections;
}

int projection_client::rebuild(const std::string& projection)
{
    return static_cast<int>(ask(directory_, waiting_, {control_verb::rebuild, projection}).count);
}

void projection_client::cancel_rebuild(const std::string& projection)
{
    ask(directory_, waiting_, {control_verb::cancel_rebuild, projection});
}

void projection_client::pause(const std::string& projection)
{
    ask(directory_, waiting_, {control_verb::pause, projection});
}

void projection_client::resume(const std::string& projection)
{
    ask(directory_, waiting_, {control_verb::resume, projection});
}

void projection_client::reset(const std::string& projection)
{
    ask(directory_, waiting_, {control_verb::reset, projection});
}

void projection_client::swap_to(const std::string& projection, int number)
{
    ask(directory_, waiting_, {control_verb::swap, projection, number});
}

void projection_client::drop(const std::string& projection, int number)
{
    ask(directory_, waiting_, {control_verb::drop, projection, number});
}

void projection_client::skip(const std::string& projection, position which)
{
    ask(directory_, waiting_, {control_verb::skip, projection, 0, which});
}

std::vector<parked_event> projection_client::parked(const std::string&                 projection,
                                                    const std::optional<parked_event>& after)
{
    detail::control_request request{control_verb::parked, projection};
    if (after) {
        request.in = after->in;
        request.at = after->at;
    }
    return ask(directory_, waiting_, request).parked;
}

std::size_t projection_client::retry_parked(const std::string& projection)
{
    return ask(directory_, waiting_, {control_verb::retry_parked, projection}).count;
}

void projection_client::skip_parked(const std::string& projection, const topic_partition& in,
                                    offset at)
{
    ask(directory_, waiting_, {control_verb::skip_parked, projection, 0, position{0}, in, at});
}

verification projection_client::verify(const std::string& projection)
{
    return ask(directory_, waiting_, {control_verb::verify, projection}).verified.value();
}

}  // namespace cairn
