"""The commands, one plain function each: it parses, calls and shows.

Nothing heavy is imported before a command runs, so that ``gaisnet --help`` answers at once.
"""
