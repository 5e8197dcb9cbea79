"""Writes the figures of a results file into docs/benchmarks.md, between its two marks; the text around them is written by hand."""

import os

import plots
import table

BEGIN, END = "<!-- figures: written by `make bench-docs` -->", "<!-- end of figures -->"


def described(machine):
    virtual = ", a virtual machine" if machine["virtual machine"] else ""
    return (f"{machine['processor']}, {machine['processors']} processors{virtual}, {machine['memory']} of memory, {machine['system']}, "
            f"Linux {machine['kernel']}; the machine's congestion control is {machine['congestion control']}. Load when the run began: "
            f"{machine['load at the start']:.2f}.")


def figure_table(figures):
    """The table's rows and the command of each."""
    return table.markdown([(*table.HEAD, "command"), *((*table.row(figure), f"`{figure['command']}`") for figure in figures)])


def section(results, pictures, directory):
    show = lambda name: [f"![{name}]({directory}/{name}.svg)"] if f"{name}.svg" in pictures else []
    parts = [f"Measured {results['date']} at commit {results['commit']}, {results['rounds']} rounds, on this machine: {described(results['machine'])}",
             "## What is held to a floor", figure_table(table.held(results)), table.summary(results).replace("\n", "\n\n"),
             "## The rest", figure_table(table.others(results)), *show("ratios"),
             "## The 64-byte ping-pong beside what else there is", table.markdown([("by", "median half round trip"), *table.beside(results)])]
    for curve in results["curves"]:
        parts += [f"## {curve['title']}", f"`{curve['command']}`", table.markdown(table.curve_rows(curve)), *show(curve["key"])]
    if results["limits"]:
        rows = [("limit", "median"), *((name, table.number(value)) for name, value in results["limits"].items())]
        parts += ["## This machine's limits, measured in the same run", table.markdown(rows)]
    return "\n\n".join(parts)


def core_section(results, pictures, directory):
    """Of the TCP/IP core alone, which has the kernel beside it only on a lossy link."""
    rows = [(figure["title"], table.mode_value(figure, "kernel"), table.mode_value(figure, "causeway"), figure["metric"], table.metric(figure), figure["floor"],
             table.verdict(figure), f"`{figure['command']}`") for figure in table.held(results) + table.others(results)]
    parts = [f"Measured {results['date']} at commit {results['commit']}, {results['rounds']} rounds, on this machine: {described(results['machine'])}",
             table.markdown([("what", "kernel", "core", "metric", "", "floor", "", "command"), *rows])]
    for curve in results["curves"]:
        parts += [f"### {curve['title']}", table.markdown(table.curve_rows(curve))]
        parts += [f"![{curve['key']}]({directory}/{curve['key']}.svg)"] if f"{curve['key']}.svg" in pictures else []
    return "\n\n".join(parts)


def part(results, core):
    """The TCP/IP core's, or all others."""
    of = lambda found: [each for each in found if each["key"].startswith("tcpip") == core]
    return {**results, "figures": of(results["figures"]), "curves": of(results["curves"])}


def write(results, path):
    with open(path, encoding="utf-8") as file:
        page = file.read()
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise SystemExit(f"{path}: the marks of the figures are missing")
    directory = os.path.splitext(path)[0]
    core = os.path.basename(path) == "tcpip.md"
    results = part(results, core)
    os.makedirs(directory, exist_ok=True)
    pictures = plots.draw(results, directory)
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n\n{(core_section if core else section)(results, pictures, os.path.basename(directory))}\n\n{END}{after}")
