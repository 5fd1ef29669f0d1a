"""The rules, one law in each file. A file in this folder is part of the library; there is no list to edit."""
