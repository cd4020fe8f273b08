"""The command line: one file per command, each of which fills in paths, calls the library and prints the result."""
