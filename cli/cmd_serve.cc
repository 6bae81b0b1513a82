// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <poll.h>

#include <array>
#include <csignal>

#include "cli/support/command_table.h"
#include "cli/support/exit_status.h"
#include "cli/support/json.h"
#include "cli/support/nbd_server.h"
#include "cli/support/operands.h"
#include "cli/support/serve_options.h"
#include "cli/support/signals.h"
#include "cli/support/stdio.h"
#include "libsnap/ops/live_view.h"

namespace snaptool::cli {
namespace {

// That it can be served: what is wrong is said here, with the exit status that it has elsewhere.
Result<void> check_image(const Invocation& invocation) {
  const access::Context context = invocation.access();
  if (invocation.has("write")) {
    SNAP_ASSIGN(const access::ImageSpec spec, origin_and_cow_operands(invocation));
    SNAP_ASSIGN(const auto view, ops::LiveView::open(context, spec, StoreKind::kPersistentOverflow,
                                                     invocation.has("force")));
    return {};
  }
  SNAP_ASSIGN(const access::ImageSpec spec, image_operand(invocation));
  access::Opener opener(context);
  SNAP_ASSIGN(const access::OpenImage open, access::open_image(opener, spec));
  return {};
}

Result<std::unique_ptr<NbdSocket>> socket_of(const Invocation& invocation) {
  const auto path = invocation.value("socket");
  const auto port = invocation.value("port");
  if (path && port) {
    return Error(ErrorCode::kInvalidArgument, "--socket and --port are two places: choose one");
  }
  if (path) return NbdSocket::at_path(*path);
  if (!port) return NbdSocket::at_new_path();
  SNAP_ASSIGN(const unsigned number, parse_number(*port, 0, 65535, "--port"));
  return NbdSocket::at_port(static_cast<uint16_t>(number));
}

// The command that was given, with the URI where it says {}.
std::vector<std::string> command_words(const Invocation& invocation, const std::string& uri) {
  std::vector<std::string> words = invocation.program_to_run();
  for (std::string& word : words) {
    for (size_t at = 0; (at = word.find("{}", at)) != std::string::npos; at += uri.size()) {
      word.replace(at, 2, uri);
    }
  }
  return words;
}

// Until the command, or the server, ends, or a signal comes. Errors: kIo where the server ends.
Result<int> wait_for_end(const Invocation& invocation, ChildProcess& server,
                         ChildProcess* command) {
  std::array<pollfd, 2> ends{{{server.fd(), POLLIN, 0}, {-1, POLLIN, 0}}};
  if (command != nullptr) ends[1].fd = command->fd();
  bool passed_on = false;
  while (true) {
    ::poll(ends.data(), ends.size(), 500);
    if (ends[1].revents != 0) return command->wait();
    if (ends[0].revents != 0 && !(command == nullptr && invocation.cancel().requested())) {
      return Error(ErrorCode::kIo, fmt::format("nbdkit ended, with status {}", server.wait()));
    }
    if (!invocation.cancel().requested()) continue;
    if (command == nullptr) return kExitDone;
    // The terminal's Ctrl-C has reached it already, and it may go on.
    if (!passed_on && stop_signal() != SIGINT) command->signal(stop_signal());
    passed_on = true;
  }
}

Result<int> run_serve(Invocation& invocation) {
  SNAP_TRY(check_serve_options(invocation));
  SNAP_TRY(check_image(invocation));
  SNAP_ASSIGN(const auto socket, socket_of(invocation));
  SNAP_ASSIGN(const auto server, socket->serve(plugin_words(invocation)));
  const std::string& uri = socket->uri();
  std::unique_ptr<ChildProcess> command;
  if (const auto words = command_words(invocation, uri); !words.empty()) {
    SNAP_ASSIGN(command, ChildProcess::start(words, {"uri=" + uri}, -1));
  } else {
    const Json json = {{"format_version", 1}, {"uri", uri}};
    SNAP_TRY(invocation.report(invocation.json() ? json.text() : uri + "\n"));
  }
  return wait_for_end(invocation, *server, command.get());
}

}  // namespace

CommandSpec serve_command() {
  CommandSpec command;
  command.name = "serve";
  command.operands = "IMAGE [-- COMMAND...]";
  command.min_operands = command.max_operands = 1;
  command.summary = "serve an image over NBD, to be read or, as a snapshot, written to";
  // clang-format off
  command.description =
      "Serves IMAGE over NBD, the protocol of network block devices, by nbdkit, which must be installed. Without COMMAND, it prints the URI and serves until Ctrl-C. With COMMAND, it starts that, with the URI for each {} in its words and in the variable 'uri', and ends with it, with its exit status: 'snaptool serve disk.img@snap.cow -- nbdcopy {} out.img'. Nothing is copied, and several clients can read at once.\n\n"
      "With --write, IMAGE is ORIGIN@COW, and what is written goes to COW, in the kernel's format; ORIGIN is only read. At a flush, all that was written is durable; at any instant the kernel can go on with COW. A trim is a discard, as in the kernel: what COW has of the range becomes zeros.\n\n"
      "Without --socket or --port, the socket is a new file in a folder of its own, which only this user can open, and which goes when it ends.";
  command.options = {
    written(file("socket", "PATH", "listen on a Unix socket at PATH, which must be new")),
    value("port", "N", "listen on port N of 127.0.0.1 (0: one that is free); every user of this machine can connect"),
    flag("write", "let clients write to the snapshot"),
    choice(0, "store", "P|PO", "with --write, a full COW becomes invalid, as in the kernel (P), or takes no more writes (PO, the default)", {"P", "PO"}),
    flag("force", "with --write: drop what a torn write left past the end of the list"),
  };
  // clang-format on
  command.shared = {Shared::kFormat,     Shared::kFollowParents, Shared::kParent,
                    Shared::kForceShare, Shared::kIgnoreInvalid, Shared::kJobs,
                    Shared::kJson,       Shared::kGroupBackup};
  command.pairs = Pairs::kFirst;
  command.hint_of_two = [](const std::string& image, const std::string& program) {
    return fmt::format("there is no COW {1}; a command comes after '--': serve {0} -- {1} ...",
                       shell_quoted(image), shell_quoted(program));
  };
  command.runs_program = true;
  command.enters_sandbox = true;  // nbdkit does
  command.run = run_serve;
  return command;
}

}  // namespace snaptool::cli
