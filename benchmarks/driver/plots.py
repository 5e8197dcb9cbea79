"""SVG plots of the curves and of the ratios, by gnuplot."""

import shutil
import statistics
import subprocess

COLOURS = {"kernel": "#888888", "causeway": "#0b6e99", "AF_UNIX": "#c0874a", "send": "#0b6e99", "receive": "#c0874a", "acknowledgement sent": "#6a9b3a", "acknowledgement received": "#8a5aa8"}

LEAST = 0.00001  # a share of 0 has no logarithm: it is drawn at the lower edge

CURVE = """
set terminal svg size 720,420 font "sans-serif,13" background "#ffffff"
set output "{output}"
set title "{title}" noenhanced
set xlabel "{x}" noenhanced
set ylabel "{unit}" noenhanced
set grid lc rgb "#dddddd"
set key {key}
set logscale {logarithmic}
set format y "%g"
set xrange [{left}:{right}]
{extra}
"""

BARS = """
set terminal svg size 800,{height} font "sans-serif,13" background "#ffffff"
set output "{output}"
set title "Times as fast as kernel TCP" noenhanced
set logscale x
set xrange [0.5:*]
set yrange [{bottom}:0.6]
set ytics noenhanced ({names})
set grid x lc rgb "#dddddd"
set arrow from 1, graph 0 to 1, graph 1 nohead lc rgb "#888888"
set lmargin 30
unset key
"""


def gnuplot(script):
    subprocess.run(["gnuplot"], input=script, text=True, check=True, timeout=30)


def block(name, rows):
    return f"${name} << END\n" + "\n".join(" ".join(map(str, row)) for row in rows) + "\nEND\n"


def plot_curve(curve, output):
    named = {key: curve[key] for key in ("title", "x", "unit")}
    points = curve["points"]
    xs = [point[0] for point in next(iter(points.values()))]
    if curve["key"] == "doorbells":
        # intervals from 0 to 1000: as names at equal distances
        points = {mode: [[xs.index(x), *(max(share, LEAST) for share in shares)] for x, *shares in rows] for mode, rows in points.items()}
        script = CURVE.format(output=output, key="bottom right", logarithmic="y", left=-0.2, right=len(xs) - 0.8, **named,
                              extra=f"set yrange [{LEAST}:2]\nset xtics (" + ", ".join(f'"{x}" {i}' for i, x in enumerate(xs)) + ")")
    else:
        script = CURVE.format(output=output, key="top left", logarithmic="xy", left=min(xs) / 1.3, right=max(xs) * 1.3, **named,
                              extra='set logscale x 2\nset format x "%.0f"')
    script += "".join(block(f"d{i}", rows) for i, rows in enumerate(points.values()))
    lines = [f'$d{i} using 1:2 with lines lw 2 lc rgb "{COLOURS.get(mode, "#000000")}" title "{mode}" noenhanced, '
             f'$d{i} using 1:2:3:4 with yerrorbars pt 7 ps 0.5 lc rgb "{COLOURS.get(mode, "#000000")}" notitle' for i, mode in enumerate(points)]
    gnuplot(script + "plot " + ", ".join(lines) + "\n")


def plot_ratios(figures, output):
    rows = [(-i, statistics.median(f["values"]), min(f["values"]), max(f["values"])) for i, f in enumerate(figures)]
    names = ", ".join(f'"{f["short"]}" {-i}' for i, f in enumerate(figures))
    script = BARS.format(output=output, height=120 + 28 * len(figures), bottom=0.4 - len(figures), names=names) + block("d", rows)
    gnuplot(script + f'plot $d using (0.5):1:(0.5):2:($1-0.3):($1+0.3) with boxxyerror fs solid noborder lc rgb "{COLOURS["causeway"]}", '
                     '$d using 2:1:3:4 with xerrorbars pt 7 ps 0.4 lc rgb "#000000"\n')


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
