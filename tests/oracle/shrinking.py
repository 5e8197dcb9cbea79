"""Finding a short script of steps that still goes wrong with Causeway and right without it: delta debugging (Zeller's ddmin)."""
import time


def shrink(lines, fails, seconds):
    """The shortest script found in that time of which fails(script) is true; no single step of it can be left out if time sufficed."""
    end = time.monotonic() + seconds
    parts = 2
    while len(lines) > 1 and time.monotonic() < end:
        size = -(-len(lines) // parts)
        for at in range(0, len(lines), size):
            rest = lines[:at] + lines[at + size:]
            if time.monotonic() >= end:
                return lines
            if rest and fails(rest):
                lines, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(lines))
    return lines
