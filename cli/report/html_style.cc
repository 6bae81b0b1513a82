// SPDX-License-Identifier: Apache-2.0
#include "cli/report/html_style.h"

#include <fmt/format.h>

#include "libsnap/base/units.h"

namespace snaptool::cli {
namespace {

constexpr std::string_view kStyle = R"(
:root { color-scheme: light; --ink: #1b1f24; --paper: #ffffff; --soft: #eef1f4; --line: #c9d1d9;
  --faint: #57606a; --hot: #c2410c; --zeroed: #0f766e; --only: #7e22ce; --mark: #1d4ed8; }
@media screen and (prefers-color-scheme: dark) { :root { color-scheme: dark; --ink: #e6edf3;
  --paper: #0d1117; --soft: #161b22; --line: #30363d; --faint: #9da7b1; --hot: #fb923c;
  --zeroed: #2dd4bf; --only: #c084fc; --mark: #79b8ff; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 90rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: normal; }
.facts td, td.hash, td.wide, td.use { overflow-wrap: anywhere; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
small { color: var(--faint); white-space: nowrap; }
.hash, pre { font-family: ui-monospace, monospace; font-size: .85em; }
.cards td.hash { min-width: 32ch; } pre { margin: 0; overflow-x: auto; overflow-wrap: normal; }
svg { display: block; box-sizing: border-box; width: 100%; height: auto; background: var(--soft);
  border: 1px solid var(--line); }
svg .c { pointer-events: none; } .changed { fill: var(--hot); color: var(--hot); }
.zeroed { fill: var(--zeroed); color: var(--zeroed); } .only { fill: var(--only); color: var(--only); }
svg .o { fill: var(--only); fill-opacity: .12; pointer-events: none; } .key { margin-right: 1.2em; }
svg .r { fill: none; stroke: var(--mark); }
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; } svg a:hover rect.s { fill-opacity: .12; }
svg rect.s { fill: var(--mark); fill-opacity: 0; stroke: var(--line); }
.zoom { display: none; } .zoom:target { display: block; }
.scroll { overflow-x: auto; } .scroll svg { min-width: 40rem; }
@media print { body { font-size: 8pt; max-width: none; margin: 0; } .zoom { display: block; }
  .scroll { overflow: visible; } .scroll svg { min-width: 0; } .cards td.hash { min-width: 22ch; }
  h2, h3, caption { break-after: avoid; } tr, svg { break-inside: avoid; } pre { white-space: pre-wrap; } }
)";

// On a narrow screen each row is a card, and each of its cells has its label.
constexpr std::string_view kCards = R"(
@media screen and (max-width: 60rem) {
.cards, .cards tbody, .cards caption, .cards td { display: block; }
.cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.cards tr { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr));
  border-bottom: 1px solid var(--line); padding: .4rem 0; }
.cards td, .cards td.n { border: 0; padding: .1rem .6rem .1rem 0; text-align: left; min-width: 0; }
.cards td.hash, .cards td.wide { grid-column: 1 / -1; min-width: 0; } .cards td:empty { display: none; }
.cards td::before { display: block; color: var(--faint); font: .8rem system-ui, sans-serif; }
)";

std::string labels(std::string_view name, std::span<const Column> columns) {
  std::string rules;
  for (size_t i = 0; i < columns.size(); ++i) {
    rules += fmt::format(".{} td:nth-child({}):not(.wide)::before {{ content: \"{}\"; }}\n", name,
                         i + 1, columns[i].label);
  }
  return rules;
}

}  // namespace

std::string page_style() {
  return fmt::format("{}{}{}{}{}{}}}\n", kStyle, kCards, labels("ranges", kRangeColumns),
                     labels("part-ranges", kPartRangeColumns), labels("changes", kChangeColumns),
                     labels("uses", kUseColumns));
}

std::string open_table(std::string_view name, std::span<const Column> columns,
                       std::string_view caption) {
  std::string text =
      fmt::format("<table class=\"cards {}\">\n<caption>{}</caption>\n<thead><tr>", name, caption);
  for (const Column& column : columns) {
    text += fmt::format("<th scope=\"col\"{}>{}</th>", column.is_number ? " class=\"n\"" : "",
                        column.label);
  }
  return text + "</tr></thead>\n<tbody>\n";
}

std::string place_cell(uint64_t offset) {
  return fmt::format("<td class=\"n\">{}<br><small>sector {}</small></td>", offset,
                     offset / kSectorSize);
}

}  // namespace snaptool::cli
