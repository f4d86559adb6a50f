"""Importers of event cameras and other event sensors.

``blocks`` has what all readers give and how it becomes a store's rows. ``packed``, ``aedat``, ``aedat4`` and ``arrays``
read one file each, in blocks, and ``readers`` lists them by ending; ``files`` finds files in folders and archives,
``folders`` makes stores of them, ``detection`` finds out which importer takes them. The other modules are one importer
or one family each: ``data_sets`` (published folders), ``gesture``, ``shd``, ``tactile``, ``qtdb``, and ``iterable`` for
what is in memory already.
"""
