"""A trained model for other programs: NIR graphs of its spiking branches, and whether others read the same in them."""

from neurozoo.nir.export.export import Branch, Export, export_run
from neurozoo.nir.export.read_back import ReadBack, read_back

__all__ = ["Branch", "Export", "ReadBack", "export_run", "read_back"]
