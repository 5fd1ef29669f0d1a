"""One file, one law. A rule is part of the library by being in this folder; there is no list to edit."""
