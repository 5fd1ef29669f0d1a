"""The running of passes: compiled text, the tables of leaves that it reads, and the threads or device that run it."""
