"""Figures: the function `draw` of each module takes the frame of one task and returns a figure.

The figure of a probe is the module with the probe's name. The module's docstring is the caption,
unless the module defines CAPTION. An optional function `finding(frame)` returns one sentence on
what the probe found. A probe without a figure module is shown as a table.
"""
