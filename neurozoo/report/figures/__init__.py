"""Drawings for :mod:`neurozoo.report.page`, by matplotlib, which is the extra ``plots``."""

from neurozoo.report.figures.charts import bars, steps
from neurozoo.report.figures.drawing import COLOURS
from neurozoo.report.figures.grids import heat_map, raster
from neurozoo.report.figures.lines import Line, Panel, lines

__all__ = ["COLOURS", "Line", "Panel", "bars", "heat_map", "lines", "raster", "steps"]
