"""Figures: each module's `draw` takes the frame of one task and gives a figure.

A probe's figure is the module of the probe's name; its first lines are the caption, and an optional
`finding(frame)` says in one sentence what the probe found. A probe without one gets a table.
"""
