"""Arenas: many models on one store under one protocol.

:mod:`~neurozoo.studies.arena.description` is the file that describes one; :mod:`~neurozoo.studies.arena.arena` runs it;
:mod:`~neurozoo.studies.arena.choosing`, :mod:`~neurozoo.studies.arena.measuring` and
:mod:`~neurozoo.studies.arena.leak` are what happens to one trained model, in this order, and the last of them is the
only one that chooses on test.
"""
