"""Figures as text, for a terminal and for docs/benchmarks.md."""

import statistics

from run import CAUSEWAY, KERNEL


def number(value):
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def metric(figure):
    """The median of the metric and, in brackets, its spread over the rounds."""
    values = figure["values"]
    if not values:
        return ""
    text = number(max(values) if figure["key"] in ("not_ours", "idle") else statistics.median(values))
    return text if min(values) == max(values) else f"{text} ({number(min(values))} to {number(max(values))})"


def mode_value(figure, mode):
    values = figure["samples"].get(mode)
    return f"{number(statistics.median(values))} {figure['unit']}".strip() if values else "-"


def verdict(figure):
    return {True: "met", False: "not met", None: "not known"}[figure["met"]] if figure["floor"] else ""


def ring_share(figure):
    """How much of the bytes went by ring; it says whether the streams of this figure were moved at all."""
    moved = figure["report"].get("bytes", {})
    whole = sum(moved.values())
    if not whole:
        return "-"
    return f"{100 * (moved.get('ring_in', 0) + moved.get('ring_out', 0)) / whole:.3g} %"


HEAD = ("what", KERNEL, CAUSEWAY, "metric", "", "floor", "", "by ring")


def row(figure):
    return (figure["title"], mode_value(figure, KERNEL), mode_value(figure, CAUSEWAY), figure["metric"], metric(figure), figure["floor"], verdict(figure),
            ring_share(figure))


def text(rows):
    widths = [max(len(line[i]) for line in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in rows)


def markdown(rows):
    lines = ["| " + " | ".join(line) + " |" for line in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def held(results):
    return [figure for figure in results["figures"] if figure["floor"]]


def others(results):
    return [figure for figure in results["figures"] if not figure["floor"]]


def beside(results):
    """What the ping-pong is compared with besides kernel TCP."""
    return [(mode, mode_value(figure, mode)) for figure in results["figures"] if figure["key"] == "pingpong" for mode in figure["samples"]]


def curve_rows(curve):
    modes = list(curve["points"])
    head = (curve["x"], *(f"{mode}, {curve['unit']}" for mode in modes))
    rows = zip(*(curve["points"][mode] for mode in modes))
    return [head, *((number(cells[0][0]), *(number(cell[1]) for cell in cells)) for cells in rows)]


def summary(results):
    held = [figure for figure in results["figures"] if figure["floor"] and figure["met"] is not None]
    missed = [figure["title"] for figure in held if not figure["met"]]
    lines = [f"{len(held) - len(missed)} of {len(held)} floors met."]
    lines += [f"not met: {title}" for title in missed]
    lines += [f"not run: {name}: {reason}" for name, reason in results["not run"].items()]
    return "\n".join(lines)


def terminal(results):
    parts = [text([HEAD, *map(row, held(results) + others(results))])]
    parts += [f"{curve['title']} ({curve['command']})\n{text(curve_rows(curve))}" for curve in results["curves"]]
    if results["limits"]:
        parts.append("This machine's limits\n" + text([(name, number(value)) for name, value in results["limits"].items()]))
    parts.append(summary(results))
    return "\n\n".join(parts)
