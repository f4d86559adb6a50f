"""Drawings for :mod:`neurozoo.reporting.page`, by matplotlib, which is the extra ``plots``."""

from neurozoo.reporting.figures.charts import bars, steps
from neurozoo.reporting.figures.drawing import COLOURS
from neurozoo.reporting.figures.grids import heat_map, raster
from neurozoo.reporting.figures.lines import Line, Panel, lines

__all__ = ["COLOURS", "Line", "Panel", "bars", "heat_map", "lines", "raster", "steps"]
