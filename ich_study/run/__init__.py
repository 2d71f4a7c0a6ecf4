"""One notebook run from the command line, strictly: checked before it starts, executed in a kernel
of its own, recorded."""
