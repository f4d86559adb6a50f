"""Reading other people's files, none of which is trusted.

``process.py`` reads pickles, torch files and joblib files: it starts a process (``child.py``) that has the file, takes
away its means to open, import, start or connect to anything, and then unpickles by an allow-list (``pickles.py``,
``formats.py``). ``npz.py``, ``mat.py`` and ``hdf5.py`` read those formats, ``nested.py`` checks values on the way into
a structure.

That process imports this package too, so nothing is imported here.
"""
