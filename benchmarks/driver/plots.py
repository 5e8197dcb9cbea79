"""SVG plots of the curves and of the ratios, by gnuplot."""

import shutil
import statistics
import subprocess

COLOURS = {"kernel": "#888888", "causeway": "#0b6e99", "AF_UNIX": "#c0874a"}

CURVE = """
set terminal svg size 720,420 font "sans-serif,13" background "#ffffff"
set output "{output}"
set title "{title}" noenhanced
set xlabel "{x}" noenhanced
set ylabel "{unit}" noenhanced
set grid lc rgb "#dddddd"
set key top left
set logscale {logarithmic}
{extra}
"""

BARS = """
set terminal svg size 720,{height} font "sans-serif,13" background "#ffffff"
set output "{output}"
set title "Times as fast as kernel TCP" noenhanced
set logscale x
set xrange [0.5:*]
set yrange [-0.6:{top}]
set ytics noenhanced ({names})
set grid x lc rgb "#dddddd"
set arrow from 1, graph 0 to 1, graph 1 nohead lc rgb "#888888"
set lmargin 52
unset key
"""


def gnuplot(script):
    subprocess.run(["gnuplot"], input=script, text=True, check=True, timeout=30)


def block(name, rows):
    return f"${name} << END\n" + "\n".join(" ".join(map(str, row)) for row in rows) + "\nEND\n"


def plot_curve(curve, output):
    doorbells = curve["key"] == "doorbells"
    modes = list(curve["points"])
    script = CURVE.format(output=output, title=curve["title"], x=curve["x"], unit=curve["unit"], logarithmic="y" if doorbells else "xy",
                          extra="set xrange [-20:*]\nset yrange [0.00001:2]" if doorbells else 'set logscale x 2\nset format x "%.0f"')
    # a share of 0 has no logarithm: it is drawn at the lower edge
    least = 0.00001 if doorbells else 0
    script += "".join(block(f"d{i}", [[x, max(m, least), max(low, least), max(high, least)] for x, m, low, high in curve["points"][mode]])
                      for i, mode in enumerate(modes))
    lines = [f'$d{i} using 1:2 with linespoints lw 2 pt 7 ps 0.6 lc rgb "{COLOURS.get(mode, "#000000")}" title "{mode}" noenhanced, '
             f'$d{i} using 1:2:3:4 with yerrorbars pt 0 lc rgb "{COLOURS.get(mode, "#000000")}" notitle' for i, mode in enumerate(modes)]
    gnuplot(script + "plot " + ", ".join(lines) + "\n")


def plot_ratios(figures, output):
    rows = [(i, statistics.median(f["values"]), min(f["values"]), max(f["values"])) for i, f in enumerate(figures)]
    names = ", ".join(f'"{f["title"][:58]}" {i}' for i, f in enumerate(figures))
    script = BARS.format(output=output, height=120 + 32 * len(figures), top=len(figures) - 0.4, names=names) + block("d", rows)
    gnuplot(script + f'plot $d using (0.5):1:(0.5):2:($1-0.3):($1+0.3) with boxxyerror fs solid noborder lc rgb "{COLOURS["causeway"]}", '
                     '$d using 2:1:3:4 with xerrorbars pt 0 lc rgb "#000000"\n')


def draw(results, directory):
    """Returns the names of the files drawn."""
    if not shutil.which("gnuplot"):
        print("no plots: gnuplot is not installed")
        return []
    names = []
    for curve in results["curves"]:
        plot_curve(curve, f"{directory}/{curve['key']}.svg")
        names.append(f"{curve['key']}.svg")
    figures = [figure for figure in results["figures"] if figure["values"] and figure["metric"] in ("kernel / causeway", "causeway / kernel")]
    if figures:
        plot_ratios(figures, f"{directory}/ratios.svg")
        names.append("ratios.svg")
    return names
