"""What fusions, label heads, models and their parts, tasks and data sets must do: a module each.

``neurozoo.registry.hookspecs.KINDS`` says which kit is whose.
"""
