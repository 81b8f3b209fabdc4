"""Each module has a function `draw`, which makes a figure from the table of one task.

The figure of a probe is drawn by the module with the probe's name. The caption of a figure is the
docstring of its module, unless the module defines CAPTION. An optional function `finding(frame)`
returns one sentence on what the probe found. A probe without a figure module is shown as a table.
"""
